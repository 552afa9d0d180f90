import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.train.batch_split import (
    join_states,
    rows_back,
    rows_first,
    split_batch,
    split_state,
)

_ROWS = 6
_AXES = {"m": 1, "deep": {"segment": 0, "last": 2}}


@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_microbatch_has_the_state_of_its_rows(count):
    """Numbers that name their row, on any axis; and an array without entries."""
    rows = jnp.arange(_ROWS)
    state = {
        "m": jnp.broadcast_to(rows[None, :, None], (2, _ROWS, 3)),
        "deep": {"segment": rows, "last": jnp.broadcast_to(rows, (2, 0, _ROWS))},
    }
    x = rows[:, None] * jnp.ones((1, 4), int)
    tokens, states = split_batch({"x": x}, count), split_state(state, _AXES, count)
    for index in range(count):
        rows = list(range(index, _ROWS, count))
        assert tokens["x"][index].tolist() == [[row] * 4 for row in rows]
        micro = jax.tree.map(lambda x, index=index: x[index], states)
        assert micro["deep"]["segment"].tolist() == rows
        assert micro["deep"]["last"].shape == (2, 0, len(rows))
        assert micro["m"].shape == (2, len(rows), 3)
        np.testing.assert_array_equal(micro["m"][1, :, 2], rows)
    jax.tree.map(np.testing.assert_array_equal, join_states(states, _AXES), state)
    first = rows_first(state, _AXES)
    assert all(leaf.shape[0] == _ROWS for leaf in jax.tree.leaves(first))
    jax.tree.map(np.testing.assert_array_equal, rows_back(first, _AXES), state)


def test_no_state_stays_none():
    assert split_state(None, _AXES, 2) is None
    assert [f(None, _AXES) for f in (join_states, rows_first, rows_back)] == [None] * 3
