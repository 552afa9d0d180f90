"""What is cleaned, what is left out for what it is, and what is taken for a copy."""

import random

import numpy as np
import pytest

from mmrec_jax.data.prepare.cleaning import broken_characters, clean
from mmrec_jax.data.prepare.document_filter import DocumentFilter
from mmrec_jax.data.prepare.duplicates import NearSignature, later_copies
from mmrec_jax.data.prepare.report import report_markdown
from mmrec_jax.data.prepare.settings import PrepareSettings
from tests.small_corpus import prepare_small

_TURKISH = (
    "Bugün hava çok soğuk olduğu için çocuklar bütün gün evde oturup kitap okudular, akşam olunca "
    "da ışıkları söndürüp pencereden yağan karı seyrettiler."
)
_AZERBAIJANI = "Mən hər səhər işə getməzdən əvvəl bir stəkan çay içirəm və qəzet oxuyuram."


@pytest.mark.parametrize(
    ("text", "cleaned", "control", "format_"),
    [
        ("ke\xadlime ara\u200blık \ufeffson\u2060", "kelime aralık son", 0, 4),
        (
            "bir\fiki\vüç\x85dört\u2028beş\r\naltı\ryedi",
            "bir\niki\nüç\ndört\nbeş\naltı\nyedi",
            0,
            0,
        ),
        ("a\x1cb\x1fc", "a b c", 0, 0),
        ("a\x00b\x07\x7f\x9fc\td\n", "abc\td\n", 4, 0),
        ("e\u200b\u0301", "é", 0, 1),  # in normal form C again
        ("می\u200cخواهم 👩\u200d🚀 ke\u200clime\u200d", "می\u200cخواهم 👩\u200d🚀 kelime", 0, 2),
    ],
)
def test_characters_that_are_no_text_go_and_white_space_stays(text, cleaned, control, format_):
    found, counts = clean(text)
    assert found == cleaned
    assert (counts["control_characters"], counts["format_characters"]) == (control, format_)
    assert len(found.split()) == len(text.replace("\ufeff", "").split())
    assert clean(found)[0] == found


def test_text_that_was_decoded_wrongly_is_told_from_text():
    assert broken_characters(_TURKISH, "tr") == 0
    latin = _TURKISH.encode("cp1254").decode("latin-1")
    lost = _TURKISH.encode("cp1254").decode("utf-8", "replace")
    twice = _TURKISH.encode().decode("cp1252", "replace")
    keep = DocumentFilter(PrepareSettings(language="tr"))
    for text in (latin, lost, twice):
        assert keep.refuse(text, broken_characters(text, "tr")) == "broken"
    # Letters of other languages are letters.
    for text in ("Það er gott að vera á Íslandi þar sem sólin skín", "Größe, ÄÖÜ, Ångström"):
        assert broken_characters(text, "any") == 0
    assert DocumentFilter(PrepareSettings(max_broken=1)).refuse(lost, len(lost)) is None


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        (" \n ", {}, "empty"),
        (" kısa ", {"min_chars": 5}, "too_short"),
        (" kısa ", {"min_chars": 4, "max_chars": 4}, None),
        ("uzun", {"max_chars": 3}, "too_long"),
        (_TURKISH, {"language": "tr"}, None),
        (_TURKISH, {"language": "az"}, "language"),
        (
            "Mən hər səhər işə getməzdən əvvəl bir stəkan çay içirəm.",
            {"language": "tr"},
            "language",
        ),
        (
            _TURKISH + " She said that they would never go there. " * 60,
            {"language": "tr"},
            "language",
        ),
        (_TURKISH, {"quality": "repetition"}, None),
        ("aynı satır\n" * 30, {"quality": "repetition"}, "repetition_dup_line_frac"),
        ("madde\n" * 30, {"quality": "fineweb"}, "fineweb_line_punct_ratio"),
        ("...", {"quality": "fineweb"}, None),  # no words
    ],
)
def test_documents_are_left_out_for_a_reason(text, changes, reason):
    assert DocumentFilter(PrepareSettings(**changes)).refuse(text, 0) == reason


def test_what_is_dirty_is_counted_in_the_report(tmp_path):
    (tmp_path / "dirty.txt").write_text("k\ufffdt\ufffdp ke\xadlime\x07\n\nara\u200blık", "utf-8")
    settings = PrepareSettings(validation_fraction=0, max_broken=1)
    manifest = prepare_small(tmp_path / "out", str(tmp_path / "dirty.txt"), settings)
    names = ("broken_characters", "format_characters", "control_characters")
    assert [manifest.counts[name] for name in names] == [2, 2, 1]
    assert all(f"| {count} |" in report_markdown(tmp_path, manifest) for count in (2, 1))


def test_later_copies_are_told_from_the_first():
    keys = np.random.default_rng(0).integers(-5, 5, 100)
    expected = [key in keys[:number] for number, key in enumerate(keys)]
    assert later_copies(keys).tolist() == expected
    assert later_copies(keys[:0]).tolist() == []


def test_signatures_are_datatroves_and_agree_as_often_as_the_sets_do(tmp_path, monkeypatch):
    step, words = NearSignature(tmp_path), [str(number) for number in range(3000)]
    a, b = step.get_shingles(" ".join(words)), step.get_shingles(" ".join(words[600:]))
    shared = np.intersect1d(a, b).size / np.union1d(a, b).size
    found = np.array([step.get_signature(each) for each in (a, b)])
    assert abs(np.mean(found[0] == found[1]) - shared) < 0.12  # three deviations of 112 draws
    monkeypatch.setattr("mmrec_jax.data.prepare.duplicates._BLOCK", 10**9)  # as the base has it
    assert step.get_signature(a) == found[0].tolist()
    few = [step.get_shingles(text) for text in ("iki kelime", "İKİ, kelime!", "kelime iki", "...")]
    assert [len(each) for each in few] == [1] * 4
    assert len({int(each[0, 0]) for each in few}) == 3


def test_planted_near_duplicates_go_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("mmrec_jax.data.prepare.tasks.TASK_BYTES", 20_000)
    draw = random.Random(0)
    vocabulary = [f"kelime{number}" for number in range(2000)]
    originals = [draw.choices(vocabulary, k=120) for _ in range(100)]
    copies = [[*text[:-1], "başka"] for text in originals]  # similarity 0.98
    apart = [[*text[:60], *draw.choices(vocabulary, k=60)] for text in originals]  # 0.32
    texts = [" ".join(words) for words in (*originals, *copies, *apart)]
    draw.shuffle(texts)
    (tmp_path / "a.txt").write_text("\n".join(texts))
    settings = PrepareSettings(dedup="minhash", documents="line", validation_fraction=0)
    manifest = prepare_small(tmp_path / "out", str(tmp_path / "a.txt"), settings)
    assert manifest.counts["duplicate"] == 100
    assert manifest.splits["train"]["documents"] == 200
