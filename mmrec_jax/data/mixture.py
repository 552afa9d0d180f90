"""How much of the text comes from which source, by the step."""

import dataclasses
import math
from collections.abc import Sequence

from mmrec_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stage:
    """From one step on, the weights of the sources.

    Attributes:
      first_step: of training, from 1.
      weights: one a source, at least 0; their sum is above 0 and need not be 1.
    """

    first_step: int
    weights: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Weights of sources that may change at chosen steps.

    Attributes:
      stages: ascending by their first step; that of the first one is 1.
    """

    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, text: str, num_sources: int, option: str = "config.data.weights") -> "Mixture":
        """The mixture that `text` says.

        Args:
          text: "3,1": of each four tokens three are from the first source; "3,1; 500: 1,1": as
            many of each from step 500 on.
          num_sources: how many weights each stage must have.
          option: what to call `text` in an error message.

        Raises:
          UserError: `text` is something else.
        """
        stages: list[Stage] = []
        for number, part in enumerate(text.split(";")):
            step, colon, weights = part.rpartition(":")
            if bool(colon) != bool(number):
                raise _refusal(option, text, 'write "3,1" or "3,1; 500: 1,1"')
            first_step = int(_number(int, step, option, text)) if number else 1
            values = tuple(_number(float, each, option, text) for each in weights.split(","))
            if len(values) != num_sources:
                raise _refusal(
                    option,
                    text,
                    f"config.data.train has {num_sources} sources, but {part.strip()!r} has "
                    f"{len(values)} weights",
                )
            if not (all(0 <= each < math.inf for each in values) and any(values)):
                raise _refusal(option, text, "weights are at least 0, and one is above 0")
            if stages and first_step <= stages[-1].first_step:
                raise _refusal(option, text, "steps ascend, and are above 1")
            stages.append(Stage(first_step, values))
        return cls(tuple(stages))

    def stage(self, step: int) -> Stage:
        """The stage that `step`, from 1, lies in."""
        found = self.stages[0]
        for stage in self.stages[1:]:
            if stage.first_step <= step:
                found = stage
        return found

    def uses(self, source: int) -> bool:
        """Whether any stage reads `source`."""
        return any(stage.weights[source] for stage in self.stages)


def next_source(weights: Sequence[float], tokens: Sequence[int]) -> int:
    """The source that the next document comes from: the one farthest below its share of tokens.

    Always taking the next document there keeps two sources within one document of their shares.

    Args:
      weights: of the stage.
      tokens: those taken from each source since the stage began.
    """
    total, whole = sum(tokens), sum(weights)
    return max(
        (source for source, weight in enumerate(weights) if weight),
        key=lambda source: (weights[source] * total - whole * tokens[source], -source),
    )


def _number(kind: type[int] | type[float], text: str, option: str, whole: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise _refusal(option, whole, f"{text.strip()!r} is not a number") from None


def _refusal(option: str, text: str, reason: str) -> UserError:
    return UserError(f"{option} is {text!r}: {reason}")
