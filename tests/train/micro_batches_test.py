import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from mmrec_jax.train.micro_batches import ROW_AXES, join_states, split_batch, split_state
from tests.small_run import small_model

_ROWS = 6


def _state(rng):
    """Numbers that name their row."""
    rows = np.arange(_ROWS)
    return MMRecState(
        h=jnp.asarray(rows[None, :, None] + 0 * rng.random((2, _ROWS, 3))),
        m=jnp.asarray(rows[None, :, None, None, None] + 0 * rng.random((2, _ROWS, 2, 3, 4))),
        segment=jnp.asarray(rows),
        position=jnp.asarray(rows),
    )


def test_the_rows_axis_of_every_array_is_that_of_a_real_state():
    shapes = [jax.eval_shape(lambda n=n: zero_state(small_model(), n)) for n in (5, 7)]
    jax.tree.map(
        lambda five, seven, axis: np.testing.assert_array_equal(
            np.flatnonzero(np.array(five.shape) != np.array(seven.shape)), [axis]
        ),
        *shapes,
        ROW_AXES,
    )


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_micro_batch_has_the_state_of_its_rows(rng, count):
    state = _state(rng)
    batch = {"x": jnp.arange(_ROWS)[:, None] * jnp.ones((1, 4), int)}
    tokens, states = split_batch(batch, count), split_state(state, count)
    for index in range(count):
        rows = list(range(index, _ROWS, count))
        assert tokens["x"][index].tolist() == [[row] * 4 for row in rows]
        micro = jax.tree.map(lambda x, index=index: x[index], states)
        assert micro.segment.tolist() == micro.position.tolist() == rows
        assert micro.h.shape == (2, len(rows), 3)
        assert micro.m.shape == (2, len(rows), 2, 3, 4)
        np.testing.assert_array_equal(micro.h[1, :, 2], rows)
        np.testing.assert_array_equal(micro.m[0, :, 1, 2, 3], rows)
    jax.tree.map(np.testing.assert_array_equal, join_states(states), state)


def test_no_state_stays_none_and_no_memory_stays_empty():
    assert split_state(None, 2) is None
    assert join_states(None) is None
    state = zero_state(small_model(memory="none"), 4)
    assert state.m.size == 0
    joined = join_states(split_state(state, 2))
    assert joined.m.shape == state.m.shape
