"""Which parameters weight decay applies to."""

from collections.abc import Callable
from typing import Any

from mmrec_jax.tree import map_named


def decay_mask(decays: Callable[[str], bool]) -> Callable[[Any], Any]:
    """From parameters to a tree like them, True where decoupled weight decay applies.

    Args:
      decays: whether it applies to the parameter at a path (`LanguageModel.decays`); of parameters
        that only an objective has, it applies to matrices.
    """

    def rule(name: str, leaf: Any) -> bool:
        return leaf.ndim > 1 if name.startswith("objectives/") else decays(name)

    return lambda params: map_named(rule, params)
