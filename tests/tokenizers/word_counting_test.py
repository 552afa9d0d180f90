from collections import Counter

import numpy as np
import pytest

from mmrec_jax.tokenizers import word_counting, word_table
from mmrec_jax.tokenizers.bpe_file import load_tokenizer
from mmrec_jax.tokenizers.learning_state import LearningState
from mmrec_jax.tokenizers.word_counting import count_words
from tests.tokenizers.small_base import small_base, turkish

_TEXTS = (turkish(40), "İstanbul'da 5 göl var.\n" * 3)


@pytest.fixture
def tokenizer():
    return load_tokenizer(small_base())


@pytest.fixture
def count(tmp_path, tokenizer):
    def run(weights=(1, 7), name="state"):
        files = [tmp_path / f"{i}.txt" for i in range(len(_TEXTS))]
        for path, text in zip(files, _TEXTS, strict=True):
            path.write_text(text, "utf-8")
        state = LearningState(tmp_path / name, {}, fresh=False)
        pairs = list(zip(files, weights, strict=True))
        return count_words(pairs, "text", tokenizer, state, lambda read: None)

    return run


def words_of(tokenizer, text):
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def spelled(found, tokenizer):
    """The words of a table in the byte-level spelling."""
    ids, offsets, counts = found.table.words()
    parts = np.split(ids, offsets[1:-1])
    names = ["".join(tokenizer.id_to_token(i) for i in part.tolist()) for part in parts]
    return names, counts.tolist()


def test_words_are_counted_with_the_weight_of_their_file_and_kept_in_order(count, tokenizer):
    found = count()
    names, counts = spelled(found, tokenizer)
    expected = Counter(words_of(tokenizer, _TEXTS[0]))
    for word in words_of(tokenizer, _TEXTS[1]):
        expected[word] += 7
    assert dict(zip(names, counts, strict=True)) == expected
    order = [names[place] for place in found.order.tolist() if place >= 0]
    assert order == [word for text in _TEXTS for word in words_of(tokenizer, text)]
    kept = found.order >= 0
    lengths = [len(words_of(tokenizer, text)) for text in _TEXTS]
    assert found.weights[kept].tolist() == [1] * lengths[0] + [7] * lengths[1]


def test_rare_words_are_forgotten_where_there_are_too_many(count, tokenizer, monkeypatch):
    monkeypatch.setattr(word_table, "_MOST_WORDS", 30)
    found = count()
    names, counts = spelled(found, tokenizer)
    assert len(names) <= 30
    assert "ĠgÃ¶l" in names
    assert min(counts) > 1
    assert found.order.max() == len(names) - 1
    forgotten = sum(len(words_of(tokenizer, text)) for text in _TEXTS) - (found.order >= 0).sum()
    assert forgotten > 0


def test_of_a_very_long_text_stretches_are_joined(count, monkeypatch):
    whole = count(name="whole")
    length = len(whole.order) - 1  # without the end of the only stretch
    monkeypatch.setattr(word_counting, "_MOST_WORDS", length // 3)
    monkeypatch.setattr(word_counting, "_STRETCH", 20)
    some = count(name="some")
    every = -(-length // (length // 3))
    for field in ("order", "weights"):
        expected = getattr(whole, field)
        np.testing.assert_array_equal(getattr(some, field)[:20], expected[:20])
        again = expected[20 * every : 20 * every + 20]
        np.testing.assert_array_equal(getattr(some, field)[21:41], again)
    assert some.order[20] == -1
    assert len(some.order) == len(some.weights) < 0.5 * length
