import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.rereading import KeptText, with_room, with_state
from tests.families import FAMILIES, small, used, whole


@pytest.fixture(params=FAMILIES)
def family(request):
    return small(request.param)


def _close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def _assert_same_state(model, actual, expected, ids):
    if isinstance(actual, KeptText):
        assert actual.length.tolist() == [len(ids)]
        assert actual.tokens[0, : len(ids)].tolist() == ids.tolist()
        return
    both = [jax.tree.leaves(used(x, model.state_batch_axes)) for x in (actual, expected)]
    for a, e in zip(*both, strict=True):
        _close(a, e)


@pytest.mark.parametrize("length", [1, 33, 300])
def test_reading_in_chunks_is_reading_at_once(rng, family, length):
    ids = rng.integers(0, 258, length)
    text = prefill(*family, ids)
    expected_logits, expected_state = whole(*family, ids)
    _close(text.logits[0], expected_logits[-1])
    _assert_same_state(family[0], text.state, expected_state, ids)
    assert text.length == length


def test_a_text_is_read_on_as_the_same_document(rng, family):
    ids = rng.integers(0, 100, 70)
    first = prefill(*family, ids[:40])
    both = prefill(*family, ids[40:], first)
    expected_logits, expected_state = whole(*family, ids)
    _close(first.logits[0], expected_logits[39])
    _close(both.logits[0], expected_logits[-1])
    _assert_same_state(family[0], both.state, expected_state, ids)
    assert (first.length, both.length) == (40, 70)
    assert set(np.flatnonzero(first.seen[0])) == set(ids[:40].tolist())
    assert set(np.flatnonzero(both.seen[0])) == set(ids.tolist())
    assert both.tail == tuple(ids[-8:].tolist())


def test_a_model_without_a_state_is_read_as_one_with_it(rng):
    """Padding, documents that end and rows of their own, against rows that are read at once."""
    inner, params = small("attention")
    model = with_state(inner)
    ids = jnp.asarray(rng.integers(0, 258, (2, 90)), jnp.int32)
    segments = jnp.array([[1] * 50 + [2] * 40, [3] * 70 + [0] * 20])
    expected = jax.jit(inner.apply)(params, ids, None, segments).logits
    read = jax.jit(model.apply)
    state, parts = model.initial_state(2), []
    for begin in range(0, 90, 30):
        now = np.s_[:, begin : begin + 30]
        state = with_room(state, 30)
        output = read(params, ids[now], state, segments[now])
        parts.append(output.logits)
        state = output.state
    real = segments > 0
    _close(jnp.concatenate(parts, axis=1)[real], expected[real])
    assert state.length.tolist() == [90, 70]
    assert state.tokens.shape == (2, 128)
    # Without ids the tokens go on with each row's last document.
    more = read(params, ids[:, :1], with_room(state, 1)).state
    assert more.segment_ids[[0, 1], [90, 70]].tolist() == [2, 3]


def test_logits_of_rows(rng):
    family, ids = small("mmrec"), rng.integers(0, 258, (2, 20))
    found = mmrec_jax.logits(*family, jnp.asarray(ids))
    assert (found.shape, found.dtype) == ((2, 20, 258), np.float32)
    for row, tokens in zip(found, ids, strict=True):
        _close(row, whole(*family, tokens)[0])


@pytest.mark.parametrize("tokens", [[1, 2], [[0.5]], [[258]], [[-1, 0]], np.zeros((1, 0), int)])
def test_what_are_no_ids_is_refused(tokens):
    with pytest.raises(ValueError, match="tokens"):
        mmrec_jax.logits(*small("gru"), np.array(tokens))
