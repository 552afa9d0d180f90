"""Which parameters are adapted, and how."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from mmrec_jax.errors import UserError
from mmrec_jax.models.linen import LinenModel
from mmrec_jax.typing import Array

# The parameters of layer i of the model are index i of axis 0 of every leaf under this name.
STACKED = "blocks/"


@dataclasses.dataclass(frozen=True)
class AdapterRule:
    """A low-rank adapter for each kernel whose path the pattern is found in.

    Kernels are [inputs, outputs], under `blocks` behind an axis of stacked layers.

    Attributes:
      pattern: a regular expression, searched in paths such as `blocks/ffn/down/kernel`.
      rank: columns of A.
      alpha: numerator of the scale s.
      kind: "dora", "lora", or "rslora" (LoRA with s = alpha / sqrt(rank), arXiv 2312.03732).
      exclude: paths that are left out although the pattern is found in them; "": none. A model
        says its own (`LanguageModel.not_adaptable`).
      skip_narrow: kernels with fewer inputs or outputs than the rank are left out, not refused.
    """

    pattern: str
    rank: int
    alpha: float
    kind: Literal["dora", "lora", "rslora"] = "dora"
    exclude: str = LinenModel.not_adaptable
    skip_narrow: bool = False

    def __post_init__(self) -> None:
        where = f"adapter rule {self.pattern!r}"
        if self.kind not in ("dora", "lora", "rslora"):
            raise UserError(f"{where}: kind is {self.kind!r}; it must be dora, lora or rslora")
        if self.rank < 1:
            raise UserError(f"{where}: rank is {self.rank}; it must be at least 1")

    @property
    def scale(self) -> float:
        """The factor s of A B."""
        return self.alpha / (self.rank**0.5 if self.kind == "rslora" else self.rank)


@dataclasses.dataclass(frozen=True)
class RowRule:
    """Rows of embeddings [V, D], such as those of control tokens, trained beside the adapters.

    Attributes:
      ranges: the rows, as pairs of a first and a last one.
      pattern: a regular expression, found in the paths of tables: of the input, and of the head
        where that has one of its own.
      dtype: what they are trained in; "": the table's, float32 at least.
    """

    ranges: tuple[tuple[int, int], ...]
    pattern: str = r"(^|/)embedding$"
    dtype: str = ""


@dataclasses.dataclass(frozen=True)
class WholeRule:
    """Parameters that are trained as they are, such as the rows of new tokens.

    Attributes:
      pattern: a regular expression, found in the paths of some parameters.
      dtype: what they are trained in; "": their own, float32 at least.
    """

    pattern: str
    dtype: str = ""


Rule = AdapterRule | RowRule | WholeRule


def all_linear(
    rank: int,
    alpha: float,
    kind: Literal["dora", "lora", "rslora"] = "dora",
    exclude: str = LinenModel.not_adaptable,
) -> tuple[AdapterRule, ...]:
    """The preset: every kernel that is neither excluded nor narrower than the rank."""
    rule = AdapterRule(r"(^|/)kernel$", rank, alpha, kind, exclude=exclude, skip_narrow=True)
    return (rule,)


def choose_kernels(leaves: Mapping[str, Array], rules: Sequence[Rule]) -> dict[str, AdapterRule]:
    """The rule of each adapted kernel; the first that matches takes it, what is whole excepted.

    `leaves` are all parameters, by path.

    Raises:
      UserError: a rule matches no kernel or one of other axes, or its rank is larger than a kernel.
    """
    chosen: dict[str, AdapterRule] = {}
    whole = choose_whole(leaves, rules)
    leaves = {name: leaf for name, leaf in leaves.items() if name not in whole}
    for rule in (rule for rule in rules if isinstance(rule, AdapterRule)):
        matched = [name for name in leaves if re.search(rule.pattern, name)]
        reasons = {name: _reason_against(name, leaves[name].shape, rule) for name in matched}
        taken = [name for name, reason in reasons.items() if not reason]
        if not taken:
            why = f"the parameters are {', '.join(sorted(leaves))}"
            if matched:  # one that a lower rank would do for, if there is one
                name = max(matched, key=lambda name: "rank" in reasons[name])
                why = f"it matches only what cannot be adapted, such as {name}: {reasons[name]}"
            raise UserError(f"adapter pattern {rule.pattern!r} matches no kernel: {why}")
        if not set(taken) - chosen.keys():
            raise UserError(
                f"adapter pattern {rule.pattern!r} matches nothing that rules before it left"
            )
        for name in taken:
            chosen.setdefault(name, rule)
    return chosen


def _reason_against(name: str, shape: tuple[int, ...], rule: AdapterRule) -> str:
    """Why a rule leaves a parameter out; "": it does not."""
    if len(shape) < 2:
        return "it is a vector"
    if rule.exclude and re.search(rule.exclude, name):
        return "parameters of this name are excluded"
    if len(shape) != (3 if name.startswith(STACKED) else 2):
        raise UserError(
            f"adapters of {name} {list(shape)}: only matrices [inputs, outputs] have adapters, "
            f"under {STACKED} stacked [layers, inputs, outputs]; leave it out of the pattern"
        )
    inputs, outputs = shape[-2:]
    most = min(inputs, outputs)
    if rule.rank <= most:
        return ""
    reason = (
        f"adapter rank {rule.rank} is larger than the kernel [{inputs}, {outputs}]; it must be at "
        f"most {most}"
    )
    if not rule.skip_narrow:
        raise UserError(f"{name}: {reason}")
    return reason


def choose_whole(leaves: Mapping[str, Array], rules: Sequence[Rule]) -> dict[str, WholeRule]:
    """The rule of each parameter that is trained as it is.

    Raises:
      UserError: a rule matches nothing.
    """
    chosen: dict[str, WholeRule] = {}
    for rule in (rule for rule in rules if isinstance(rule, WholeRule)):
        matched = [name for name in leaves if re.search(rule.pattern, name)]
        if not matched:
            raise UserError(
                f"whole pattern {rule.pattern!r} matches no parameter: they are "
                f"{', '.join(sorted(leaves))}"
            )
        chosen |= dict.fromkeys(matched, rule)
    return chosen


def choose_tables(leaves: Mapping[str, Array], rule: RowRule) -> list[str]:
    """The paths of the embeddings that a rule means.

    Raises:
      UserError: none match or what is no [V, D] array does, or a row is not there.
    """
    matched = [name for name in leaves if re.search(rule.pattern, name)]
    if not matched or any(leaves[name].ndim != 2 for name in matched):
        found = ", ".join(matched) or "nothing"
        raise UserError(f"row pattern {rule.pattern!r} must match [V, D] arrays, not {found}")
    for name in matched:
        rows = leaves[name].shape[0]
        for first, last in rule.ranges:
            if not 0 <= first <= last < rows:
                raise UserError(f"{name} has rows 0 to {rows - 1}; there are no {first}-{last}")
    return matched
