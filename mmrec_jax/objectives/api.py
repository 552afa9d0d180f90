"""What an objective is to the training step, which knows none by name.

An objective is one file, and one line in `registry.py` that names its config. It says what it
counts over the whole batch before the forward pass, and each microbatch then gives sums: divided by
that count they add up to the objective of the whole batch, however it was cut. Chance has its say
in `draw`, over the whole batch, too.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel, Output, Probe, State
from mmrec_jax.objectives.config import Weight
from mmrec_jax.typing import Array

Batch = dict[str, Array]  # [B, T] each: `data/batch.py`
Params = Any  # nested dicts of arrays; empty where an objective has none of its own

# The number that an objective's sums have to give: what is minimised, before the division.
LOSS = "loss"

# (segment_ids [B, T]) -> the output of another forward pass over the same tokens, from the zero
# state and with the same dropout, in which everything is a constant to the gradient.
Reread = Callable[[Array], Output]


class Objective(abc.ABC):
    """A term of the loss.

    Attributes:
      config: what it was told.
      weight: its factor in the loss, as a function of the updates done.
      orthogonal: whether its gradient counts without the component along that of the others.
    """

    orthogonal: bool = False

    def __init__(self, config: Any) -> None:
        """`config` is an `ObjectiveConfig`."""
        self.config = config
        self.weight = weight_schedule(config.weight)

    def init(self, key: Array, model: LanguageModel) -> Params:
        """Parameters of its own, that training alone uses."""
        return {}

    def draw(
        self, key: Array, model: LanguageModel, batch: Batch, state: State
    ) -> dict[str, Array]:
        """What it draws for the whole batch, [B, ...] each: `count` and `sums` find it in theirs.

        The rows of a microbatch bring theirs along, so that its cuts change nothing.
        """
        return {}

    def probe(self, params: Params, batch: Batch, continues: Array) -> Probe | None:
        """What it sums inside the model, from arguments of `sums`; None: nothing."""
        return None

    @abc.abstractmethod
    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """What its sums over the whole batch are divided by; known before the forward pass."""

    @abc.abstractmethod
    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """Sums over a (micro)batch: a dict of arrays, with `LOSS` a scalar among them.

        Args:
          params: its own.
          output: of the model; `captured` has the sums of its own probe.
          batch: what the model has read, and what `draw` gave.
          continues: `LanguageModel.continues`.
          reread: costs a forward pass for each call.
        """

    @abc.abstractmethod
    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """Scalars for the log from the sums over the whole batch."""

    def positions(self, output: Output, batch: Batch) -> dict[str, tuple[Array, Array]]:
        """What an evaluation takes the mean of: values [B, T], and where they count [B, T]."""
        return {}


def weight_schedule(weight: Weight) -> Callable[[Array], float | Array]:
    """A number, or (step, weight) points with straight lines between them."""
    if isinstance(weight, int | float):
        return lambda step: float(weight)
    steps, weights = (jnp.asarray(column, jnp.float32) for column in zip(*weight, strict=True))
    return lambda step: jnp.interp(step.astype(jnp.float32), steps, weights)
