"""What an objective is to the training step, which knows none by name.

An objective is one file, and one line in `registry.py` that names its config. It says what it
counts over the whole batch before the forward pass, and each microbatch then gives sums: divided by
that count they add up to the objective of the whole batch, however it was cut.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mmrec_jax.models.api import LanguageModel, Output, State
from mmrec_jax.typing import Array

Batch = dict[str, Array]  # [B, T] each: `data/batch.py`
Params = Any  # nested dicts of arrays; empty where an objective has none of its own

# The number that an objective's sums have to give: what is minimised, before the division.
LOSS = "loss"


class Objective(Protocol):
    """A term of the loss."""

    @property
    def weight(self) -> Callable[[Array], float | Array]:
        """Its factor in the loss, as a function of the updates done."""

    @property
    def orthogonal(self) -> bool:
        """Whether its gradient counts without the component along that of the others."""

    @property
    def capture(self) -> tuple[str, ...]:
        """What it wants of the inside of the model (`LanguageModel.apply`)."""

    def init(self, key: Array, model: LanguageModel) -> Params:
        """Parameters of its own, that training alone uses."""

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """What its sums over the whole batch are divided by; known before the forward pass."""

    def sums(self, params: Params, output: Output, batch: Batch, continues: Array) -> Any:
        """Sums over a (micro)batch: a dict of arrays, with `LOSS` a scalar among them.

        Args:
          params: its own.
          output: of the model.
          batch: what the model has read.
          continues: `LanguageModel.continues`.
        """

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """Scalars for the log from the sums over the whole batch."""

    def positions(self, output: Output, batch: Batch) -> dict[str, tuple[Array, Array]]:
        """What an evaluation takes the mean of: values [B, T], and where they count [B, T]."""
