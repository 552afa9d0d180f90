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
import functools
import itertools
import math
from collections.abc import Mapping, Sequence

import jax

from mmrec_jax.config import LENGTHS, Config
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.errors import UserError
from mmrec_jax.objectives.api import weight_schedule
from mmrec_jax.settings import Settings
from mmrec_jax.stages import staged
from mmrec_jax.train.step import Factors


@dataclasses.dataclass(frozen=True)
class Stage:
    """One of them, or what precedes the first.

    Attributes:
      number: how many of `config.stages` have begun.
      where: what messages of it begin with.
      config: of the run while it lasts.
      begin: updates before it, unless the one before ends early.
      lr_factor: of the learning rate.
      target_loss: where it ends early.
    """

    number: int
    where: str
    config: Config
    begin: int = 0
    lr_factor: float = 1.0
    target_loss: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """What a program is compiled for."""
        train = self.config.train
        return train.batch_size, train.accumulate, self.config.data.seq_len

    def same_data(self, other: "Stage") -> bool:
        """Whether one's batches are the other's."""
        own, its = self.config, other.config
        return self.shape == other.shape and own.data.weights == its.data.weights

    def batches(self, data: Dataset, read: Mapping[str, float]) -> TrainIterator:
        """This process's batches, behind what the stages before have read.

        Raises:
          UserError: there is too little data for them, or the rows do not divide evenly.
        """
        try:
            return data.with_config(self.config.data).batches(
                self.config.train.batch_size,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                read=read,
            )
        except UserError as error:
            raise UserError(f"{self.where}{error}") from None


def plan_stages(config: Config, data: Dataset) -> tuple[tuple[Stage, ...], int]:
    """What precedes the first stage and all stages, and the steps of the run.

    Raises:
      UserError: a stage does not suit the data, or begins at the end of the run or before the one
        before it.
    """
    (where, before), *others = staged(config)
    stages = [Stage(0, where, before)]

    @functools.cache
    def tokens_per_step(number: int) -> float:
        own = stages[number].config
        return data.with_config(own.data).tokens_per_step(own.train.batch_size)

    def steps_until(asked: Settings, unit: str) -> int:
        """Updates until so much is read as a field says, in the stages so far."""
        wanted = getattr(asked, unit)
        if unit in ("step", "steps"):
            return int(wanted)
        if unit == "epochs":
            epoch = data.tokens_per_epoch
            expected = "None: every example of this data is new; say it in steps or tokens"
            asked.require(epoch is not None, unit, expected)
            wanted *= epoch
        for stage, following in itertools.pairwise(stages):
            wanted -= (following.begin - stage.begin) * tokens_per_step(stage.number)
        last = stages[-1]
        return last.begin + max(0, math.ceil(wanted / tokens_per_step(last.number) - 1e-9))

    for chosen, (where, each) in zip(config.stages, others, strict=True):
        try:
            each.data.check(each)
        except UserError as error:
            raise UserError(f"{where}{error}") from None
        if not data.evaluators:
            expected = "None where no document is held out"
            chosen.require(chosen.target_loss is None, "target_loss", expected)
        begin, last = steps_until(chosen, chosen.unit), stages[-1]
        expected = f"after step {last.begin}, where the stage before begins; it comes to {begin}"
        chosen.require(begin > last.begin or last.number == 0, chosen.unit, expected)
        factor = last.lr_factor if chosen.lr_factor is None else chosen.lr_factor
        stages.append(Stage(len(stages), where, each, begin, factor, chosen.target_loss))
    unit = next(name for name in LENGTHS if getattr(config.train, name) is not None)
    steps, last = max(1, steps_until(config.train, unit)), stages[-1]
    if config.stages:
        expected = f"before the end of the run, step {steps}; it comes to step {last.begin}"
        config.stages[-1].require(last.begin < steps, config.stages[-1].unit, expected)
    return tuple(stages), steps


def factors(stages: Sequence[Stage]) -> Factors | None:
    """What the programs look up by the number of the stage; None where there is one alone."""
    if len(stages) == 1:
        return None
    weights = {
        name: [weight_schedule(stage.config.objectives[name].weight) for stage in stages]
        for name in stages[0].config.objectives
    }
    return Factors([stage.lr_factor for stage in stages], weights)
