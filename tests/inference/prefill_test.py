import jax
import numpy as np
import pytest

from mmrec_jax.inference.prefill import prefill, read
from mmrec_jax.models.mmrec.state import zero_state
from tests.small_writer import CONFIG, MODEL, forward, parameters


@pytest.fixture(scope="module")
def params():
    return parameters()


def _assert_same_state(actual, expected):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(e, a.shape), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 256, 300])
def test_reading_in_pieces_is_reading_at_once(rng, params, length):
    ids = rng.integers(0, 258, length)
    logits, state = prefill(MODEL, params, ids, zero_state(CONFIG, 2))
    expected_logits, expected_state = forward(params, ids)
    for row in logits:
        np.testing.assert_allclose(row, expected_logits[-1], rtol=1e-4, atol=1e-4)
    assert state.position.tolist() == [length, length]
    _assert_same_state(state.h, expected_state.h)
    _assert_same_state(state.m, expected_state.m)


def test_reading_goes_on_where_a_state_left_off(rng, params):
    ids = rng.integers(0, 258, 70)
    _, middle = prefill(MODEL, params, ids[:40], zero_state(CONFIG, 1))
    logits, state = prefill(MODEL, params, ids[40:], middle)
    expected_logits, expected_state = forward(params, ids)
    np.testing.assert_allclose(logits[0], expected_logits[-1], rtol=1e-4, atol=1e-4)
    _assert_same_state(state.h, expected_state.h)


def test_a_text_is_read_on_as_the_same_document(rng, params):
    ids = rng.integers(0, 100, 60)
    first = read(MODEL, params, ids[:40])
    both = read(MODEL, params, ids[40:], first)
    expected_logits, _ = forward(params, ids)
    np.testing.assert_allclose(first.logits[0], expected_logits[39], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(both.logits[0], expected_logits[-1], rtol=1e-4, atol=1e-4)
    assert (first.tokens_read, both.tokens_read) == (40, 60)
    assert set(np.flatnonzero(first.seen[0])) == set(ids[:40].tolist())
    assert set(np.flatnonzero(both.seen[0])) == set(ids.tolist())
    assert both.tail == tuple(ids[-8:].tolist())
