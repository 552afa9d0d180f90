"""Parity: has the number of ones so far been odd?"""

from typing import ClassVar

from mmrec_jax.data.tasks.modular import Modular


class Parity(Modular):
    """Fair bits; the answer at every place is the sum of the bits up to it, modulo 2.

    The smallest task that needs a state which turns over: a recurrence that is linear in its state
    with decays in (0, 1) cannot hold it beyond the lengths it was trained on.
    """

    name: ClassVar[str] = "parity"

    def __init__(self) -> None:
        super().__init__(2)
