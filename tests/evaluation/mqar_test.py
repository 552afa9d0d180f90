import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.evaluation.mqar import draw_recall, first_rank, score_recall
from tests.evaluation.copier import VOCABULARY, Copier, Uniform
from tests.small_step import logits_output

_IDS = np.arange(4, 38, dtype=np.int32)  # 17 keys, 17 values
_PAIRS = (1, 2, 12)


def _score(model, **options):
    options = {"begin_id": 1, "sequences": 5, "rows": 3, **options}
    return score_recall(model, None, _IDS, _PAIRS, **options)


@pytest.mark.parametrize(("begin_id", "rows"), [(1, 3), (None, 3), (1, 2)])
def test_a_model_that_copies_recalls_everything(begin_id, rows):
    scores = _score(Copier(), begin_id=begin_id, rows=rows)
    for count, score in zip(_PAIRS, scores, strict=True):
        assert (score.pairs, score.queries, score.chance) == (count, 5 * count, 1 / count)
        assert (score.accuracy, score.error) == (1.0, 0.0)
        others = np.log(np.exp(9) + VOCABULARY - 1)
        assert score.right_nll == pytest.approx(others - 9, abs=1e-5)
        if count > 1:
            assert score.other_nll == pytest.approx(others, abs=1e-5)
    assert scores[0].other_nll is None


def test_a_model_that_knows_nothing_is_at_chance():
    for score in _score(Uniform()):
        assert score.accuracy == pytest.approx(score.chance, abs=1e-12)
        assert score.right_nll == pytest.approx(np.log(VOCABULARY), abs=1e-5)


@jax.tree_util.register_static
class _FirstValue:
    """The answer is always the first pair's value, the token at index 1, whichever key is asked."""

    state_batch_axes = (0, 0)

    def initial_state(self, rows):
        return jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.int32)

    def apply(self, params, tokens, state, segment_ids):
        first, calls = state
        first = jnp.where(calls == 0, tokens[:, 1], first)
        logits = 5.0 * (jnp.arange(VOCABULARY)[None, None] == first[:, None, None])
        logits = jnp.broadcast_to(logits, (*tokens.shape, VOCABULARY))
        return logits_output(logits, (first, calls + 1))


def test_a_model_that_names_the_first_value_is_right_once_in_a_sequence():
    for score in _score(_FirstValue(), begin_id=None, sequences=1):
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


@pytest.mark.parametrize(
    ("nll", "right", "expected"),
    [
        ([1.0, 2.0, 3.0], 0, 1.0),
        ([1.0, 2.0, 3.0], 2, 0.0),
        ([2.0, 2.0, 3.0], 1, 0.5),
        ([2.0, 2.0, 2.0], 0, 1 / 3),
        ([2.0, 2.0, 1.0], 0, 0.0),
        ([np.nan, 1.0], 0, 0.0),
        ([1.0, np.nan], 0, 0.0),
        ([[1.0, 2.0], [2.0, 1.0]], [0, 0], [1.0, 0.0]),
    ],
)
def test_the_first_rank_is_shared_among_equals(nll, right, expected):
    np.testing.assert_array_equal(first_rank(np.array(nll), np.array(right)), expected)
