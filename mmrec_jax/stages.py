"""Stages of a run: what changes in its config from a step, a number of tokens or of epochs on."""

import dataclasses
from typing import TYPE_CHECKING, Any

from mmrec_jax.errors import UserError
from mmrec_jax.objectives.config import WEIGHT, Objectives, Weight
from mmrec_jax.settings import Settings, above, at_least, setting

if TYPE_CHECKING:
    from mmrec_jax.config import Config

_BEGINNINGS = ("step", "tokens", "epochs")


@dataclasses.dataclass(frozen=True)
class StageConfig(Settings):
    """A stage of `config.stages`; what is None is as in the stage before.

    A count of tokens or epochs becomes a step when the run begins, from what a step of each stage
    before reads. What precedes the first stage is as the config says; a stage at 0 precedes none.
    """

    step: int | None = setting(
        None, "exactly one of step, tokens, epochs: begins when so many were made", at_least(0)
    )
    tokens: int | None = setting(None, "begins when so many were predicted", at_least(0))
    epochs: float | None = setting(None, "begins after so many passes over the data", at_least(0))
    seq_len: int | None = setting(None, "as data.seq_len", at_least(1))
    batch_size: int | None = setting(None, "as train.batch_size", at_least(1))
    accumulate: int | None = setting(None, "as train.accumulate", at_least(1))
    lr_factor: float | None = setting(
        None, "of the learning rate that optim says; 1 before the first stage", at_least(0)
    )
    objectives: tuple[tuple[str, Weight], ...] = setting(
        (),
        'weights of objectives that are on, such as (("cross_entropy", 0.5),); others as before',
    )
    data_weights: tuple[float, ...] | None = setting(None, "as data.weights, without steps")
    target_loss: float | None = setting(
        None,
        "evaluation loss (nats/token) at or under which the next stage begins at once, or the run "
        "ends; of this stage alone",
        above(0),
        free=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_one_of(*_BEGINNINGS)
        for name, weight in self.objectives:
            self.require(WEIGHT.holds(weight), "objectives", f"of {name} {WEIGHT.expected}")

    @property
    def unit(self) -> str:
        """The field that says where it begins; empty where none does, which is refused."""
        return next((name for name in _BEGINNINGS if getattr(self, name) is not None), "")

    @property
    def full_name(self) -> str:
        """See `Settings.full_name`: a stage is known by where it begins."""
        unit = self.unit
        return f"config.stages[{f'{unit}={getattr(self, unit)}' if unit else ''}]"

    def after(self, before: "Config") -> "Config":
        """The config of the run in this stage, from that of the stage before, without stages.

        Raises:
          UserError: names the stage and the field that does not suit the run.
        """
        if self.data_weights is not None:
            expected = "None where config.data.weights is empty: the sources are not mixed"
            self.require(bool(before.data.weights), "data_weights", expected)
        if self.seq_len is not None:
            expected = f'None with config.data.source "{before.data.source}", whose examples fit '
            expected += "in rows of one length"
            self.require(before.data.prompt_style != "chat", "seq_len", expected)
        objectives = dict(before.objectives)
        for name, weight in self.objectives:
            expected = f"of objectives that are on: {', '.join(objectives)}"
            self.require(name in objectives, "objectives", expected)
            objectives[name] = dataclasses.replace(objectives[name], weight=weight)
        try:
            return dataclasses.replace(
                before,
                stages=(),
                data=_with(before.data, seq_len=self.seq_len, weights=self.data_weights),
                train=_with(before.train, batch_size=self.batch_size, accumulate=self.accumulate),
                objectives=Objectives(**{"cross_entropy": None, **objectives}),
            )
        except UserError as error:
            raise UserError(f"{self.full_name}: {error}") from None


def _with(group: Any, **fields: Any) -> Any:
    """The group with those of the fields that are not None."""
    given = {name: value for name, value in fields.items() if value is not None}
    return dataclasses.replace(group, **given)


def staged(config: "Config") -> tuple[tuple[str, "Config"], ...]:
    """The config before the first stage and in each, which have no stages themselves.

    Each has before it what messages of it begin with: the name of the stage.

    Raises:
      UserError: a stage does not suit the run.
    """
    if not config.stages:
        return (("", config),)
    if any(isinstance(each, tuple) for each in config.data.weights):
        expected = "numbers alone with config.stages, whose data_weights change them"
        config.data.require(False, "weights", expected)
    configs = [("", dataclasses.replace(config, stages=()))]
    for stage in config.stages:
        configs.append((f"{stage.full_name}: ", stage.after(configs[-1][1])))
    return tuple(configs)
