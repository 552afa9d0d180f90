import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.evaluation.reader import Reader
from mmrec_jax.evaluation.recall import draw_recall, most_pairs, score_recall
from tests.evaluation.copier import VOCABULARY, copier, uniform

_IDS = np.arange(4, 38, dtype=np.int32)  # 17 keys, 17 values
_PAIRS = (1, 2, 12)


def _score(reader, **options):
    options = {"begin_id": 1, "sequences": 5, "rows": 3, **options}
    return score_recall(reader, _IDS, _PAIRS, **options)


@pytest.mark.parametrize("begin_id", [1, None])
def test_a_model_that_copies_recalls_everything(begin_id):
    read = []
    scores = _score(copier(), begin_id=begin_id, on_read=read.append)
    for count, score in zip(_PAIRS, scores, strict=True):
        assert (score.pairs, score.queries, score.chance) == (count, 5 * count, 1 / count)
        assert (score.accuracy, score.error) == (1.0, 0.0)
        others = np.log(np.exp(9) + VOCABULARY - 1)
        assert score.right_nats == pytest.approx(others - 9, abs=1e-5)
        if count > 1:
            assert score.other_nats == pytest.approx(others, abs=1e-5)
    assert scores[0].other_nats is None
    assert sum(read) == 5 * sum(3 * count + (begin_id is not None) for count in _PAIRS)


def test_a_model_that_knows_nothing_is_at_chance():
    for score in _score(uniform()):
        assert score.accuracy == pytest.approx(score.chance, abs=1e-12)
        assert score.right_nats == pytest.approx(np.log(VOCABULARY), abs=1e-5)


def test_a_model_that_names_the_first_value_is_right_once_a_sequence():
    """By hand: the answer is always the first pair's, whichever key is asked."""

    def read(params, tokens, state, segment_ids):
        first, seen = state  # the token at place 1, and how many have been read
        first = jnp.where(seen == 0, tokens[:, 1], first)
        logits = 5.0 * (jnp.arange(VOCABULARY)[None, None] == first[:, None, None])
        return jnp.broadcast_to(logits, (*tokens.shape, VOCABULARY)), (first, seen + 1)

    reader = Reader(
        read, None, lambda rows: (jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.int32))
    )
    for score in _score(reader, begin_id=None, sequences=1):
        assert score.accuracy == pytest.approx(1 / score.pairs)
        assert score.error is None


def test_a_sequence_is_by_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        tokens, values, answers = draw_recall(rng, _IDS, 12, 1)
        assert len(tokens) == 1 + 3 * 12
        keys, shown, asked = tokens[1:25:2], tokens[2:25:2], tokens[25:]
        np.testing.assert_array_equal(shown, values)
        assert sorted(asked) == sorted(keys)
        assert len(set(keys)) == len(set(values)) == 12
        assert set(keys) <= set(_IDS[:17])
        assert set(values) <= set(_IDS[17:])
        table = dict(zip(keys, values, strict=True))
        np.testing.assert_array_equal(values[answers], [table[key] for key in asked])


def test_how_many_rows_are_read_at_once_changes_nothing():
    expected, other = (_score(copier(), rows=rows) for rows in (5, 2))
    for a, b in zip(expected, other, strict=True):
        assert (a.pairs, a.accuracy) == (b.pairs, b.accuracy)
        assert a.right_nats == pytest.approx(b.right_nats, abs=1e-5)


def test_half_of_the_ids_are_keys():
    assert most_pairs(_IDS) == 17
    assert most_pairs(_IDS[:5]) == 2
