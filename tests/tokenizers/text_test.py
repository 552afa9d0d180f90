import gzip
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.tokenizers import text as module
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.text import Source, count_words, text_chunks
from tests.small_data import refused
from tests.tokenizers.small_base import small_base, turkish

_TEXT = "göl\n\nağaç ve ışık\r\n" * 40 + "son" * 30
_BOOK = ("kelime " * 60).strip()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_READ", 7)
    monkeypatch.setattr(module, "_LONGEST", 50)


def test_the_chunks_are_the_text_in_whole_lines_and_a_long_line_is_cut_before_a_space(
    tmp_path, small_blocks
):
    path = tmp_path / "a.txt"
    for text, inside in ((_TEXT, "\n"), ("kelime " * 60, " ")):
        path.write_bytes("\ufeff".encode() + text.encode())
        chunks = list(text_chunks(path))
        assert "".join(chunks) == text
        assert len(chunks) > 3
        cuts = [chunk[-1] if inside == "\n" else chunk[0] for chunk in chunks[1:-10]]
        assert set(cuts) <= {inside}


@pytest.mark.parametrize(
    ("name", "content", "field", "expected"),
    [
        ("a.jsonl.gz", f'{{"b": "{_BOOK}"}}\n\n{{"b": "iki\\nüç"}}\n', "b", [_BOOK, "iki\nüç"]),
        ("a.conllu", "# text = Ev var.\n1\tEv\n\n# text = Yok.\n", "text", ["Ev var.", "Yok."]),
    ],
)
def test_records_and_sentences_are_whole(tmp_path, small_blocks, name, content, field, expected):
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(text_chunks(tmp_path / name, field)) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "göl ".encode() * 9 + b"\xfe", "offset 45 (0xfe)"),
        ("a.txt", "göl".encode()[:2], "offset 1 (0xc3)"),
        ("a.txt.gz", gzip.compress(b"x" * 9_000, mtime=0)[:-12], "damaged"),
        ("a.jsonl", b'{"text": "a"}\n{"body": "a"}\n', "a.jsonl:2: there is no field 'text'"),
    ],
)
def test_a_broken_file_is_named_with_the_position(tmp_path, small_blocks, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with refused(tmp_path / name, expected):
        list(text_chunks(tmp_path / name))


_TEXTS = (turkish(40), "İstanbul'da 5 göl var.\n" * 3)
_TOKENIZER = read_library(small_base())


@pytest.fixture
def count(tmp_path):
    """Counts two texts with the weights 1 and 7, and says what was found in each."""

    def run():
        files = [tmp_path / f"{i}.txt" for i in range(len(_TEXTS))]
        for path, text in zip(files, _TEXTS, strict=True):
            path.write_text(text, "utf-8")
        found = []

        def weigh(sources):
            found.extend(sources)
            return 1, 7

        return count_words(files, "text", _TOKENIZER, weigh, lambda _: None), found

    return run


def words_of(text):
    return [word for word, _ in _TOKENIZER.pre_tokenizer.pre_tokenize_str(text)]


def spelled(found):
    """The words of a table in the byte-level spelling, and their counts."""
    ids, offsets, _ = found.table.words()
    parts = np.split(ids, offsets[1:-1])
    names = ["".join(map(_TOKENIZER.id_to_token, part.tolist())) for part in parts]
    return names, found.counts.tolist()


def test_words_are_counted_with_the_weight_of_their_file_and_kept_in_order(count):
    found, sources = count()
    names, counts = spelled(found)
    words = [words_of(text) for text in _TEXTS]
    for source, text, own in zip(sources, _TEXTS, words, strict=True):
        once = sum(number == 1 for number in Counter(own).values())
        assert source == Source(len(text.encode()), len(own), once)
    raw = found.table.words()[2].tolist()
    assert dict(zip(names, raw, strict=True)) == Counter(words[0] + words[1])
    expected = Counter(words[0]) + Counter(words[1] * 7)
    assert dict(zip(names, counts, strict=True)) == expected
    assert [names[i] for i in found.order.tolist() if i >= 0] == words[0] + words[1]
    kept = found.weights[found.order >= 0].tolist()
    assert kept == [1] * len(words[0]) + [7] * len(words[1])


def test_rare_words_are_forgotten_where_there_are_too_many(count, monkeypatch):
    monkeypatch.setattr(module, "_MOST_DISTINCT", 30)
    found, _ = count()
    names, counts = spelled(found)
    assert len(names) <= 30
    assert "," in names
    assert min(counts) > 1
    assert found.order.max() == len(names) - 1
    assert (found.order >= 0).sum() < sum(len(words_of(text)) for text in _TEXTS)


def test_of_a_very_long_text_evenly_spaced_batches_are_kept(count, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 100)  # a batch is a few chunks of some lines
    monkeypatch.setattr(module, "_READ", 50)
    whole, _ = count()
    monkeypatch.setattr(module, "_MOST_WORDS", len(whole.order) // 2 - 1)
    some, _ = count()
    assert 0.15 < len(some.order) / len(whole.order) < 0.5
    assert len(some.order) == len(some.weights)
    assert some.order[:5].tolist() == whole.order[:5].tolist()
    assert some.order[-1] == -1
