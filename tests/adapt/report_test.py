import copy
import html.parser
import json
import math
import re

import pytest

from mmrec_jax.adapt.report import write_report
from mmrec_jax.errors import UserError

_HOSTILE = "</script><img src=x onerror=alert(1)><style>*{display:none}</style>\"' {{ 7 }} &amp;"


def _text(name, size, words, before, after):
    (base_tokens, base_shares), (tokens, shares) = before, after
    return {
        "name": name,
        "bytes": size,
        "words": words,
        "base_tokens": base_tokens,
        "tokens": tokens,
        "reduction": 1 - tokens / base_tokens,
        "base_tokens_a_word": base_tokens / words,
        "tokens_a_word": tokens / words,
        "base_bytes_a_token": size / base_tokens,
        "bytes_a_token": size / tokens,
        "base_shares": dict(zip("12345678", base_shares, strict=False)),
        "shares": dict(zip("12345678", shares, strict=False)),
    }


def _model(name, turkish, english, tokens, scores=None):
    return {
        "name": name,
        "is": f"{name}: what it is",
        "turkish": turkish,
        "english": english,
        "turkish_tokens": tokens,
        "turkish_change": turkish / 1.8125 - 1,
        "english_change": english / 0.9 - 1,
        "tokens_per_second": 1234.5 if scores else None,
        "seconds_per_megabyte": 210.25 if scores else None,
        "scores": scores,
    }


def _curve(stage, begin, first, last, count=200):
    decay = [last + (first - last) * math.exp(-index / 30) for index in range(count)]
    return {
        "stage": stage,
        "points": [[begin + 1024 * index, loss] for index, loss in enumerate(decay)],
    }


REPORT = {
    "title": "A small model learns Turkish",
    "base": "example/base",
    "command": "mmrec adapt --config=configs/adapt.py --workdir=runs/tr",
    "mmrec_jax": "0.2.0",
    "seed": 0,
    "finished": True,
    "tokenizer": {
        "new_tokens": 8000,
        "texts": [
            _text(
                *("turkish", 81000, 10000),
                (32100, (0.11, 0.2, 0.3, 0.2, 0.1, 0, 0, 0.09)),
                (16050, (0.55, 0.3, 0.15, 0, 0, 0, 0, 0)),
            ),
            _text("english", 51000, 9000, (11700, (0.8, 0.2)), (11701, (0.8, 0.2))),
        ],
    },
    "models": [
        _model("base", 1.8125, 0.9, 32100, {"vowel harmony": 0.71, "a.dotted/name": 0.25}),
        _model("initialised", 2.9, 0.9001, 16050),
        _model("trained", 1.3, 0.91, 16050) | {"is": _HOSTILE},
        _model("control", 1.4, 0.92, 32100),
        _model("instructed", 1.2345, 0.915, 16050, {"vowel harmony": 0.93}),
    ],
    "curves": [_curve("align", 0, 2.9, 1.8), _curve("train 1", 204_800, 1.8, 1.2)],
    "samples": [
        {"prompt": "Çığ düştü, ışık söndü.", "base": _HOSTILE, "adapted": "şöyle\nböyle 42"},
        {"prompt": "uzun" * 500, "base": "a" * 3000, "adapted": "half a pair \ud83d"},
    ],
    "stages": [
        {
            "name": "analyse",
            "seconds": 12.0,
            "peak_bytes": None,
            "tokens": None,
            "fingerprint": "ab" * 32,
            "sessions": 1,
        },
        {
            "name": "train",
            "seconds": 4309.5,
            "peak_bytes": 3 * 2**30,
            "tokens": 409_600,
            "fingerprint": "0123456789abcdef" * 4,
            "sessions": 3,
        },
    ],
    "total_seconds": 4321.5,
    "files": {"model.safetensors": "f0" * 32},
}


class _Page(html.parser.HTMLParser):
    """Texts of a page with the value that their element gives, and all tags."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "br"):
            self.open.append(self.tags[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag != "style" and text.strip():
            value = attributes.get("value") or attributes.get("data-value")
            self.texts.append((text.strip(), value and float(value)))


def _write(report, folder):
    write_report(report, folder)
    return _Page((folder / "report.html").read_text("utf-8"))


def _leaves(value):
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def test_every_number_of_the_page_is_in_the_json(tmp_path):
    page = _write(REPORT, tmp_path)
    leaves = list(_leaves(json.loads((tmp_path / "report.json").read_text("utf-8"))))
    numbers = {leaf for leaf in leaves if isinstance(leaf, int | float)}
    strings = {word.strip(",") for leaf in leaves if isinstance(leaf, str) for word in leaf.split()}
    checked = 0
    for text, value in page.texts:
        if value is None:
            # In a text of the report as it is.
            words = re.findall(r"\S*\d\S*", text)
            assert all(word.strip(",") in strings or word == "SHA-256" for word in words), text
            continue
        assert value in numbers, (text, value)
        shown = re.search(r"[−+]?[\d,]+(\.\d+)?", text)
        parts = {"%": 0.01, "GiB": 2**30, "min": 60}
        scale = next((parts[unit] for unit in parts if text.endswith(unit)), 1)
        step = scale / 10 ** len(shown[1][1:] if shown[1] else "")
        number = float(shown[0].replace(",", "").replace("−", "-")) * scale
        assert number == pytest.approx(value, abs=0.5001 * step), text
        checked += 1
    assert checked > 80


def test_the_page_runs_and_asks_for_nothing(tmp_path):
    page = _write(REPORT, tmp_path)
    assert {"script", "img", "iframe", "object", "form"}.isdisjoint(tag for tag, _ in page.tags)
    policy = next(each["content"] for tag, each in page.tags if tag == "meta" and "content" in each)
    assert policy.startswith("default-src 'none'")
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert {"src", "href", "srcset", "style"}.isdisjoint(attributes) or tag == "link"
    assert [each["href"] for tag, each in page.tags if tag == "link"] == ["data:,"]
    texts = [text for text, _ in page.texts]
    assert texts.count(_HOSTILE) == 2
    assert "Çığ düştü, ışık söndü." in texts
    sources = [each for tag, each in page.tags if tag == "svg" and each.get("role") == "img"]
    assert len(sources) == sum(tag == "title" for tag, _ in page.tags) - 1
    assert sum(tag == "caption" for tag, _ in page.tags) == sum(
        tag == "table" for tag, _ in page.tags
    )


@pytest.mark.parametrize(
    "missing",
    [
        {name: type(part)() for name, part in REPORT.items() if name != "title"},
        {"models": REPORT["models"][1:], "stages": REPORT["stages"][:1]},
        {"curves": [{"stage": "align", "points": []}, {"stage": "train", "points": [[0, 2.0]]}]},
        {"tokenizer": {"new_tokens": None, "texts": []}, "files": {}},
    ],
    ids=["all", "base", "points", "texts"],
)
def test_what_has_not_been_measured_is_left_out(missing, tmp_path):
    page = _write(REPORT | missing, tmp_path)
    texts = [text for text, _ in page.texts]
    assert REPORT["title"] in texts
    assert not any("None" in text or "Undefined" in text for text in texts)
    assert any(text.startswith("Not finished") for text in texts) == ("finished" in missing)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused_by_its_name(number, tmp_path):
    report = copy.deepcopy(REPORT)
    report["curves"][1]["points"][3][1] = number
    with pytest.raises(UserError, match=r"curves/1/points/3/1 is"):
        write_report(report, tmp_path)
    assert not list(tmp_path.iterdir())


def test_lines_span_the_picture_whatever_the_tokens(tmp_path):
    points = [[10**10, 3.0], [10**10 + 10**6, 2.0], [10**10 + 4 * 10**6, 1.0]]
    report = REPORT | {"models": [], "curves": [{"stage": "train", "points": points}]}
    line = next(each for tag, each in _write(report, tmp_path).tags if tag == "polyline")
    # The last point twice: one point alone is a dot.
    assert line["points"].split() == ["0.00,0.00", "25.00,50.00", *["100.00,100.00"] * 2]
