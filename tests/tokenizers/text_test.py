import gzip
import json
from collections import Counter

import numpy as np
import pytest
from mmrec_jax.tokenizers.checkpoint import Checkpoint

from mmrec_jax.data.formats import byte_window
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers import text as module
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.extension import ExtensionPlan, learn_extension
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.text import count_words, text_chunks
from tests.tokenizers.small_base import small_base, turkish

_TEXT = "göl\n\nağaç ve ışık\r\n" * 40 + "son" * 30
_BOOK = ("kelime " * 60).strip()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(byte_window, "_READ", 7)
    monkeypatch.setattr(module, "_LONGEST", 50)


def test_the_chunks_are_the_text_in_whole_lines(tmp_path, small_blocks):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff".encode() + _TEXT.encode())
    chunks = list(text_chunks(path))
    assert "".join(chunks) == _TEXT
    assert len(chunks) > 40
    assert all(chunk.endswith("\n") for chunk in chunks if "son" not in chunk)


def test_a_long_line_is_cut_before_a_space(tmp_path, small_blocks):
    path = tmp_path / "a.txt"
    path.write_text("kelime " * 60, "utf-8")
    chunks = list(text_chunks(path))
    assert "".join(chunks) == "kelime " * 60
    assert len(chunks) > 3
    assert all(chunk.startswith(" ") for chunk in chunks[1:])


@pytest.mark.parametrize(
    ("name", "content", "field", "expected"),
    [
        ("a.jsonl", f'{{"text": "{_BOOK}"}}\n{{"text": "son"}}\n', "text", [_BOOK, "son"]),
        ("a.conllu", f"# text = {_BOOK}\n1\tkelime\n", "text", [_BOOK]),
        ("a.jsonl.gz", '{"body": "bir"}\n\n{"body": "iki\\nüç"}\n', "body", ["bir", "iki\nüç"]),
        (
            "b.conllu",
            "# sent_id = 1\n# text = Ev var.\n1\tEv\n\n# text = Yok.\n",
            "text",
            ["Ev var.", "Yok."],
        ),
    ],
)
def test_records_and_sentences_are_whole(tmp_path, small_blocks, name, content, field, expected):
    path = tmp_path / name
    data = content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(text_chunks(path, field)) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "göl ".encode() * 9 + b"\xfe", "offset 45 (0xfe)"),
        ("a.txt", "İstanbul'da".encode("iso-8859-9"), "offset 0 (0xdd)"),
        ("a.txt", "göl".encode("utf-16"), "offset 0 (0xff)"),
        ("a.txt", "göl".encode()[:2], "offset 1 (0xc3)"),
        ("a.txt.gz", gzip.compress(b"x" * 9_000, mtime=0)[:-12], "damaged"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "a"}\n', "a.jsonl:2: there is no field 'text'"),
    ],
)
def test_a_broken_file_is_named_with_the_position(tmp_path, small_blocks, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(text_chunks(path))
    assert str(error.value).startswith(str(path))
    assert expected in str(error.value)


_TEXTS = (turkish(40), "İstanbul'da 5 göl var.\n" * 3)
_WEIGHTS = (1, 7)


@pytest.fixture
def tokenizer():
    return read_library(small_base())


@pytest.fixture
def count(tmp_path, tokenizer):
    def run(name="checkpoint"):
        files = [tmp_path / f"{i}.txt" for i in range(len(_TEXTS))]
        for path, text in zip(files, _TEXTS, strict=True):
            path.write_text(text, "utf-8")
        checkpoint = Checkpoint(tmp_path / name, {}, fresh=False)
        pairs = list(zip(files, _WEIGHTS, strict=True))
        return count_words(pairs, "text", tokenizer, checkpoint, lambda read: None)

    return run


def words_of(tokenizer, text):
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def spelled(found, tokenizer):
    """The words of a table in the byte-level spelling."""
    ids, offsets, counts = found.table.words()
    parts = np.split(ids, offsets[1:-1])
    names = ["".join(tokenizer.id_to_token(i) for i in part.tolist()) for part in parts]
    return names, counts.tolist()


def test_words_are_counted_with_the_weight_of_their_file_and_kept_in_order(count, tokenizer):
    found = count()
    names, counts = spelled(found, tokenizer)
    words = [words_of(tokenizer, text) for text in _TEXTS]
    expected = Counter(words[0])
    for word in words[1]:
        expected[word] += 7
    assert dict(zip(names, counts, strict=True)) == expected
    assert [names[i] for i in found.order.tolist() if i >= 0] == words[0] + words[1]
    kept = found.weights[found.order >= 0].tolist()
    assert kept == [1] * len(words[0]) + [7] * len(words[1])


def test_rare_words_are_forgotten_where_there_are_too_many(count, tokenizer, monkeypatch):
    monkeypatch.setattr(module, "_MOST_DISTINCT", 30)
    found = count()
    names, counts = spelled(found, tokenizer)
    assert len(names) <= 30
    assert "ĠgÃ¶l" in names
    assert min(counts) > 1
    assert found.order.max() == len(names) - 1
    assert (found.order >= 0).sum() < sum(len(words_of(tokenizer, text)) for text in _TEXTS)


def test_of_a_very_long_text_stretches_are_joined(count, monkeypatch):
    whole = count(name="whole")
    length = len(whole.order) - 1  # without the end of the only stretch
    monkeypatch.setattr(module, "_MOST_WORDS", length // 3)
    monkeypatch.setattr(module, "_STRETCH", 20)
    some = count(name="some")
    every = -(-length // (length // 3))
    for field in ("order", "weights"):
        expected = getattr(whole, field)
        np.testing.assert_array_equal(getattr(some, field)[:20], expected[:20])
        again = expected[20 * every : 20 * every + 20]
        np.testing.assert_array_equal(getattr(some, field)[21:41], again)
    assert some.order[20] == -1
    assert len(some.order) == len(some.weights) < 0.5 * length


def test_files_are_weighted_by_the_text_that_is_read(tmp_path):
    """The same sentences in four forms that differ in bytes on disk."""
    sentences = turkish(50).splitlines()
    text = "".join(sentences)
    rows = "1\tgöl" + "\t_" * 8 + "\n"
    forms = {
        "a.txt": text.encode(),
        "a.txt.gz": gzip.compress(text.encode()),
        "a.jsonl": "".join(json.dumps({"text": each}) + "\n" for each in sentences).encode(),
        "a.conllu": "".join(f"# text = {each}\n{rows * 9}\n" for each in sentences).encode(),
        "short.txt": text[: len(text) // 3].encode(),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
    base = BpeFile.from_content(small_base(), "base.json")
    plan = ExtensionPlan(base, [tmp_path / name for name in forms], "text", 10, 0, 0.0, [], None)
    reports = []
    checkpoint = Checkpoint(tmp_path / "learning", {}, True)
    learn_extension(plan, checkpoint, lambda *report: reports.append(report))
    assert [weight for _, weight in plan.weighted_files(plan.text_sizes())] == [10, 10, 10, 10, 30]
    size = 4 * len(text.encode()) + len(forms["short.txt"])
    counted = [report[1:] for report in reports if report[0] == "counting words"]
    assert counted[-1] == (size, size)
