"""The document rule, against a loop over the tokens of each row."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_jax.models.layout import layout
from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from tests.models.mmrec.small_model import config

LENGTH = 7
_row = st.lists(st.integers(0, 3), min_size=LENGTH, max_size=LENGTH)
_layout = jax.jit(layout, static_argnums=2)


def carried(segment: list[int], position: list[int]) -> MMRecState:
    """A state of which only segment and position matter here."""
    return zero_state(config(), len(segment)).replace(
        segment=np.int32(segment), position=np.int32(position)
    )


@settings(max_examples=40)
@given(rows=st.tuples(_row, _row, _row), segment=st.integers(0, 3), position=st.integers(0, 9))
def test_layout_matches_a_loop(rows, segment, position):
    state = carried([segment, 0, 2], [position, 0, 4])
    where = jax.device_get(_layout(np.int32(rows), state, (3, LENGTH)))
    for i, row in enumerate(rows):
        last, read, starts, positions = state.segment[i], state.position[i], [], []
        for current in row:
            starts.append(current > 0 and current != last)
            if current > 0:
                last, read = current, 1 if starts[-1] else read + 1
            positions.append(read - 1)
        np.testing.assert_array_equal(where.real[i], np.array(row) > 0)
        np.testing.assert_array_equal(where.start[i], starts)
        np.testing.assert_array_equal(where.positions[i], positions)
        assert (where.segment[i], where.position[i]) == (last, read)


def test_without_segment_ids_the_carried_document_goes_on():
    """In a fresh row document 1 begins, so that ids of 1 afterwards continue it."""
    where = _layout(None, carried([0, 5], [0, 40]), (2, LENGTH))
    assert bool(jnp.all(where.real))
    np.testing.assert_array_equal(where.start, [[True] + [False] * 6, [False] * 7])
    np.testing.assert_array_equal(where.segment, [1, 5])
    np.testing.assert_array_equal(where.position, [LENGTH, 40 + LENGTH])
