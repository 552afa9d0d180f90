"""The stages of a run (`mmrec_jax/stages.py`), with the steps at which they begin.

A stage changes what a step reads (`seq_len`, `batch_size`, `accumulate`: a program of its own for
each shape, the mix of the data) and factors that the programs look up by the number of the stage
(learning rate, weights of objectives). Parameters, optimizer and step go on across the border. So
does the data: rows of another length begin where as much of each source has been read, in an order
of their own, and so do rows in another mix. States that rows hand on begin from nothing where the
shape changes.

A stage whose `target_loss` is reached ends there; the one after the next begins where it would have
begun anyway. Validation is that of the config before the stages: its numbers compare.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from mmrec_jax.config import LENGTHS, Config
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.errors import UserError
from mmrec_jax.objectives.api import weight_schedule
from mmrec_jax.stages import staged
from mmrec_jax.train.step import Factors


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of them, or what precedes the first.

    Attributes:
      number: how many of `config.stages` have begun.
      name: what messages call it.
      config: of the run while it lasts.
      begin: updates before it, unless the one before ends early.
      lr_factor: of the learning rate.
      target_loss: where it ends early.
    """

    number: int
    name: str
    config: Config
    begin: int
    lr_factor: float
    target_loss: float | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """What a program is compiled for."""
        train = self.config.train
        return train.batch_size, train.accumulate, self.config.data.seq_len

    def same_data(self, other: "Stage") -> bool:
        """Whether one's batches are the other's."""
        own, its = self.config, other.config
        return self.shape == other.shape and own.data.weights == its.data.weights


def plan_stages(config: Config, data: Dataset) -> tuple[tuple[Stage, ...], int]:
    """What precedes the first stage and all stages, and the steps of the run.

    Raises:
      UserError: a stage does not suit the data, or begins at the end of the run or before the one
        before it.
    """
    count, stages = _Counter(data), list[Stage]()
    for number, each in enumerate(staged(config)):
        chosen = config.stages[number - 1] if number else None
        factor, target = 1.0, None
        if chosen is None:
            name, begin = "config", 0
        else:
            name = chosen.full_name
            try:
                each.data.check(each)
            except UserError as error:
                raise UserError(f"{name}: {error}") from None
            unit, amount = chosen.beginning
            if unit == "epochs" and data.tokens_per_epoch is None:
                chosen.require(False, unit, "None: every example of this data is new")
            begin = count.steps(unit, amount)
            before = stages[-1]
            in_order = begin > before.begin or number == 1
            expected = f"after step {before.begin}, at which {before.name} begins"
            chosen.require(in_order, unit, f"{expected}; it comes to step {begin}")
            given = chosen.lr_factor
            factor = before.lr_factor if given is None else given
            target = chosen.target_loss
            if not data.evaluators:
                chosen.require(target is None, "target_loss", "None where no document is held out")
        stages.append(Stage(number, name, each, begin, factor, target))
        count.enter(stages[-1])
    unit = next(name for name in LENGTHS if getattr(config.train, name) is not None)
    if unit == "epochs" and data.tokens_per_epoch is None:
        expected = f'None with config.data.source "{config.data.source}": every example is new; '
        config.train.require(False, unit, expected + "use train.steps or train.tokens")
    steps = max(1, count.steps(unit, getattr(config.train, unit)))
    for stage, chosen in zip(stages[1:], config.stages, strict=True):
        unit, _ = chosen.beginning
        expected = f"before the end of the run, step {steps}; it comes to step {stage.begin}"
        chosen.require(stage.begin < steps, unit, expected)
    return tuple(stages), steps


def planned_positions(stages: Sequence[Stage], step: int, end: int) -> int:
    """How many positions of rows the steps behind `step` up to `end` read; `stages[0]` is on."""
    count = 0
    for number, stage in enumerate(stages):
        until = end if number + 1 == len(stages) else min(max(stages[number + 1].begin, step), end)
        batch_size, _, seq_len = stage.shape
        count += max(until - step, 0) * batch_size * seq_len
        step = max(step, until)
    return count


class _Counter:
    """Steps until so much was read, by what a step of each stage reads; measured if it is asked."""

    def __init__(self, data: Dataset) -> None:
        self._data, self._stages = data, list[Stage]()
        self._rates = dict[Any, float]()

    def enter(self, stage: Stage) -> None:
        self._stages.append(stage)

    def steps(self, unit: str, amount: float) -> int:
        if unit in ("step", "steps"):
            return int(amount)
        wanted = amount * (self._data.tokens_per_epoch or 0) if unit == "epochs" else amount
        for stage, end in zip(self._stages, (*self._stages[1:], None), strict=True):
            if end is None:
                return stage.begin + max(0, math.ceil(wanted / self._rate(stage) - 1e-9))
            wanted -= (end.begin - stage.begin) * self._rate(stage)
        return 0

    def _rate(self, stage: Stage) -> float:
        config = stage.config
        key = stage.shape, config.data.weights
        if key not in self._rates:
            data = self._data.with_config(config.data)
            self._rates[key] = data.tokens_per_step(config.train.batch_size)
        return self._rates[key]


def factors(stages: Sequence[Stage]) -> Factors | None:
    """What the programs look up by the number of the stage; None where there is one alone."""
    if len(stages) == 1:
        return None
    weights = {
        name: [weight_schedule(stage.config.objectives[name].weight) for stage in stages]
        for name in stages[0].config.objectives
    }
    return Factors([stage.lr_factor for stage in stages], weights)
