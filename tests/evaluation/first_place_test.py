import numpy as np
import pytest

from mmrec_jax.evaluation.first_place import first_place


@pytest.mark.parametrize(
    ("nats", "right", "expected"),
    [
        ([1.0, 2.0, 3.0], 0, 1.0),
        ([1.0, 2.0, 3.0], 2, 0.0),
        ([2.0, 2.0, 3.0], 1, 0.5),
        ([2.0, 2.0, 2.0], 0, 1 / 3),
        ([2.0, 2.0, 1.0], 0, 0.0),
        ([5.0], 0, 1.0),
        ([np.nan, 1.0], 0, 0.0),
        ([1.0, np.nan], 0, 0.0),
    ],
)
def test_the_first_place_is_shared_among_equals(nats, right, expected):
    assert first_place(np.array(nats), np.array(right)) == expected


def test_leading_axes_are_independent():
    nats = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(float)
    right = np.random.default_rng(1).integers(0, 6, (4, 5))
    for i, j in np.ndindex(4, 5):
        assert first_place(nats, right)[i, j] == first_place(nats[i, j], right[i, j])
