"""What every objective may be told, and all objectives of a run."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mmrec_jax.settings import Check, Settings, at_least, setting

if TYPE_CHECKING:
    from mmrec_jax.models.api import LanguageModel
    from mmrec_jax.objectives.api import Objective
    from mmrec_jax.tokenizers.tokenizer import Tokenizer

# A number, or (step, weight) points between which the weight is linear.
Weight = float | tuple[tuple[int, float], ...]


def _weight_holds(weight: Weight) -> bool:
    points = _points(weight)
    ascending = all(before[0] < after[0] for before, after in itertools.pairwise(points))
    inside = all(step >= 0 and 0 <= value < math.inf for step, value in points)
    return bool(points) and ascending and inside


WEIGHT = Check(_weight_holds, "at least 0, or points such as [(0,0.0),(500,0.1)], steps ascending")


def highest_weight(weight: Weight) -> float:
    """The most that it ever is."""
    return max(value for _, value in _points(weight))


def _points(weight: Weight) -> tuple[tuple[int, float], ...]:
    return weight if isinstance(weight, tuple) else ((0, weight),)


def weight_setting(default: float) -> Any:
    """The field `weight` of an objective."""
    return setting(
        default,
        "in the sum that is minimised: a number, or (step, weight) points, linear in between; "
        "0: measured, not trained on",
        WEIGHT,
    )


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Settings):
    """What every objective has.

    Attributes:
      of_text: it is of running text, which a task has not.
      by_token: its sums are over tokens that each stand for themselves: devices may share a row.
    """

    of_text: ClassVar[bool] = False
    by_token: ClassVar[bool] = False

    weight: Weight = weight_setting(1.0)

    def build(self, model: "LanguageModel", tokenizer: "Tokenizer") -> "Objective":
        """The objective of a run with this model and tokenizer."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class CrossEntropyConfig(ObjectiveConfig):
    """The negative log-likelihood of the next token, nats/token."""

    group = "objectives.cross_entropy"
    by_token = True

    chunk: int | None = setting(
        None,
        "tokens of a row whose logits are made at once, which saves memory; None: all where they "
        "take 64 MiB on a CPU or 256 MiB on an accelerator, else as many as do",
        at_least(1),
        free=True,
    )

    def build(self, model: "LanguageModel", tokenizer: "Tokenizer") -> "Objective":
        """See `ObjectiveConfig.build`."""
        from mmrec_jax.objectives.cross_entropy import CrossEntropy

        return CrossEntropy(self)


class Objectives(Mapping[str, Any]):
    """The objectives of a run by name, immutable: `objectives.uboo.weight`.

    `cross_entropy` is always there, unless it is given as None.
    """

    def __init__(self, **chosen: ObjectiveConfig | None) -> None:
        named = {"cross_entropy": CrossEntropyConfig(), **chosen}
        self._chosen = {name: config for name, config in named.items() if config is not None}

    def __getitem__(self, name: str) -> Any:
        return self._chosen[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._chosen:
            raise AttributeError(f"the objective {name!r} is off")
        return self._chosen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __hash__(self) -> int:
        return hash(frozenset(self._chosen.items()))

    def __repr__(self) -> str:
        return f"Objectives({', '.join(f'{name}={one!r}' for name, one in self.items())})"
