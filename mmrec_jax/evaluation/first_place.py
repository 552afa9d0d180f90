"""Whether the right answer comes first among several."""

import numpy as np
from numpy.typing import NDArray


def first_place(nats: NDArray[np.floating], right: NDArray[np.integer]) -> NDArray[np.float64]:
    """The chance that the right candidate is chosen as the one with the fewest nats.

    Candidates that share the first place are chosen among at random, so a model that finds all of
    C candidates equally likely gets 1 / C, and not 0 or 1.

    Args:
      nats: [..., C], `-log p` of each candidate.
      right: [...], the place of the right one.

    Returns:
      [...], 0 where another candidate is better, else 1 / (candidates in the first place). NaN
      counts as a wrong answer.
    """
    own = np.take_along_axis(nats, right[..., None], axis=-1)
    tied = np.count_nonzero(nats == own, axis=-1)
    best = np.all(nats >= own, axis=-1)
    return np.where(best, 1.0 / np.maximum(tied, 1), 0.0)
