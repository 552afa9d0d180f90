"""Checkpoints of format 1, in which some parts of a run lay elsewhere.

UBOO's predictors were parameters of the model, `blocks/uboo`, there and in the optimizer's moments;
Sophia's state did not count the estimates that it refused.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmrec_jax.config import Config
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.optim.sophia import ScaleBySophiaState
from mmrec_jax.train.state import OBJECTIVES
from mmrec_jax.typing import Array


class _SophiaState1(NamedTuple):
    """`ScaleBySophiaState` as format 1 has it."""

    count: Array  # type: ignore[assignment]
    m: Any
    h: Any
    unclipped: Array
    update_rms: Array
    h_norm: Array
    h_nonpositive: Array


def to_version_1(items: dict[str, Any]) -> dict[str, Any]:
    """The items of a checkpoint (`train.state.to_items`), abstract or not, as format 1 has them."""
    training = dict(items["training"])
    own = training.pop(OBJECTIVES, {})
    training["opt_state"] = _map(_sophia_to_1, _map(_inside, training["opt_state"]))
    return {"params": _inside({**items["params"], OBJECTIVES: own}), "training": training}


def from_version_1(items: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `to_version_1`."""
    training = dict(items["training"])
    params = _beside(items["params"])
    own = params.pop(OBJECTIVES, {})
    training["opt_state"] = _map(_sophia_from_1, _map(_beside, training["opt_state"]))
    return {"params": params, "training": training | ({OBJECTIVES: own} if own else {})}


def predictors(config: Config, model: LanguageModel) -> dict[str, Params]:
    """Shapes of what format 1 has among the parameters although objectives alone use it."""
    if "uboo" not in config.objectives:
        return {}
    objective = config.objectives.uboo.build(model, None)  # it asks for no tokenizer
    return {"uboo": jax.eval_shape(lambda key: objective.init(key, model), jax.random.key(0))}


def _inside(tree: Any) -> Any:
    """A dict of parameters whose UBOO predictors are put among the blocks."""
    if not isinstance(tree, dict) or OBJECTIVES not in tree:
        return tree
    rest = {name: part for name, part in tree.items() if name != OBJECTIVES}
    if "uboo" in tree[OBJECTIVES]:
        rest["blocks"] = {**rest["blocks"], "uboo": tree[OBJECTIVES]["uboo"]}
    return rest


def _beside(tree: Any) -> Any:
    """The inverse of `_inside`."""
    if not isinstance(tree, dict) or "uboo" not in tree.get("blocks", {}):
        return tree
    blocks = dict(tree["blocks"])
    return {**tree, OBJECTIVES: {"uboo": blocks.pop("uboo")}, "blocks": blocks}


def _sophia_to_1(node: Any) -> Any:
    return _SophiaState1(*node[: len(_SophiaState1._fields)]) if _is_sophia(node) else node


def _sophia_from_1(node: Any) -> Any:
    if not isinstance(node, _SophiaState1):
        return node
    zero = jnp.zeros((), jnp.int32, device=node.count.sharding)
    return ScaleBySophiaState(*node, zero)


def _is_sophia(node: Any) -> bool:
    return isinstance(node, ScaleBySophiaState)


def _map(function: Any, tree: Any) -> Any:
    """`function` on every dict of parameters and every state of Sophia in a tree."""

    def is_leaf(node: Any) -> bool:
        return isinstance(node, ScaleBySophiaState | _SophiaState1) or (
            isinstance(node, dict) and ("blocks" in node)
        )

    def deep(node: Any) -> Any:
        if isinstance(node, ScaleBySophiaState | _SophiaState1):
            parts = {name: _map(function, getattr(node, name)) for name in ("m", "h")}
            node = node._replace(**parts)
        return function(node)

    return jax.tree.map(deep, tree, is_leaf=is_leaf)
