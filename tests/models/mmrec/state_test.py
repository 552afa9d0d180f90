"""The document rule, against a loop over the tokens of each row."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmrec_jax.models.mmrec.state import MMRecState, layout, zero_state
from mmrec_jax.tree import num_bytes
from tests.models.mmrec.small_model import config

LENGTH = 7
_row = st.lists(st.integers(0, 3), min_size=LENGTH, max_size=LENGTH)
_layout = jax.jit(layout, static_argnums=2)


def carried(segment: list[int], position: list[int]) -> MMRecState:
    """A state of which only segment and position matter here."""
    return zero_state(config(), len(segment)).replace(
        segment=jnp.int32(segment), position=jnp.int32(position)
    )


@given(rows=st.tuples(_row, _row, _row), segment=st.integers(0, 3), position=st.integers(0, 9))
def test_layout_matches_a_loop(rows, segment, position):
    state = carried([segment, 0, 2], [position, 0, 4])
    where = _layout(jnp.int32(rows), state, LENGTH)
    for i, row in enumerate(rows):
        last, read = int(state.segment[i]), int(state.position[i])
        for t, current in enumerate(row):
            assert bool(where.real[i, t]) == (current > 0)
            starts = current > 0 and current != last
            assert bool(where.start[i, t]) == starts
            if current > 0:
                last, read = current, 1 if starts else read + 1
        assert int(where.segment[i]) == last
        assert int(where.position[i]) == read


def test_without_segment_ids_the_carried_document_goes_on():
    where = _layout(None, carried([0, 5], [0, 40]), LENGTH)
    assert bool(jnp.all(where.real))
    np.testing.assert_array_equal(where.start, [[True] + [False] * 6, [False] * 7])
    np.testing.assert_array_equal(where.segment, [1, 5])
    np.testing.assert_array_equal(where.position, [LENGTH, 40 + LENGTH])


def test_a_call_without_segment_ids_continues_one_with_the_first_document():
    """None begins document 1 in a fresh row, so that ids of 1 afterwards continue it."""
    where = _layout(None, carried([0], [0]), LENGTH)
    state = carried([0], [0]).replace(segment=where.segment, position=where.position)
    after = _layout(jnp.ones((1, LENGTH), jnp.int32), state, LENGTH)
    assert not bool(jnp.any(after.start))
    np.testing.assert_array_equal(after.position, [2 * LENGTH])


def test_zero_state_has_a_fixed_size_in_float32():
    small = config(dtype="bfloat16")
    state = zero_state(small, 3)
    assert state.h.shape == (2, 3, 6)
    assert state.m.shape == (2, 3, 2, 3, 5)
    assert state.h.dtype == state.m.dtype == jnp.float32
    assert all(not bool(jnp.any(leaf)) for leaf in jax.tree.leaves(state))
    assert num_bytes(state) == 4 * (2 * 3 * 6 + 2 * 3 * 2 * 3 * 5 + 3 + 3)
    assert zero_state(config(memory="none"), 3).m.size == 0
