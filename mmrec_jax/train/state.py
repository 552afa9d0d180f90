"""Everything that a training step changes."""

import zlib
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.objectives.api import Objective
from mmrec_jax.tree import map_named, named_leaves
from mmrec_jax.typing import Array

# Where the optimizer has the objectives' own parameters, beside those of the model.
OBJECTIVES = "objectives"


@flax.struct.dataclass
class TrainState:
    """Parameters, and all that is remembered. `key` holds raw key data, fit for any file."""

    step: Array  # int32 scalar: updates done
    params: Params  # of the model: those that are trained
    objectives: dict[str, Params]  # parameters of objectives that have some
    opt_state: optax.OptState
    key: Array  # uint32; randomness of step n is fold_in(key, n)
    # What the model remembers of each row of the last batch; None where nothing is carried on.
    carried: State = None


def initial_state(
    model: LanguageModel,
    objectives: Mapping[str, Objective],
    optimizer: optax.GradientTransformation,
    seed: int,
    carried_rows: int | None = None,
    *,
    given: Mapping[str, Array] | None = None,
) -> TrainState:
    """The state before the first update. Traceable: use under `jax.jit` or `jax.eval_shape`.

    `carried_rows` are the rows of a batch where the model's state is carried from step to step;
    `given` what some parameters, by path, begin with (in any dtype) instead of the model's start.
    """
    key = jax.random.key(seed)
    own_key = jax.random.fold_in(key, 3)
    params = initial_params(model, given or {}, seed)
    own = {}
    for name, objective in objectives.items():
        if made := objective.init(named_key(own_key, name), model):
            own[name] = made
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        objectives=own,
        opt_state=optimizer.init(joined(params, own)),
        key=jax.random.key_data(jax.random.fold_in(key, 1)),
        carried=None if carried_rows is None else model.initial_state(carried_rows),
    )


def initial_params(model: LanguageModel, given: Mapping[str, Array], seed: int) -> Params:
    """The parameters before the first update; `given` as of `initial_state`. Traceable."""
    made = model.init(jax.random.key(seed))
    return map_named(lambda name, leaf: given.get(name, leaf).astype(leaf.dtype), made)


def named_key(key: Array, objective: str) -> Array:
    """The key of one objective, whichever others there are."""
    return jax.random.fold_in(key, zlib.crc32(objective.encode()))


def joined(params: Params, objectives: dict[str, Params]) -> Params:
    """What the optimizer sees: the model's tree, and in it those of objectives if there are any."""
    return {**params, OBJECTIVES: objectives} if objectives else params


def parted(tree: Params) -> tuple[Params, dict[str, Params]]:
    """The inverse of `joined`."""
    if OBJECTIVES not in tree:
        return tree, {}
    return {name: part for name, part in tree.items() if name != OBJECTIVES}, tree[OBJECTIVES]


def to_items(state: TrainState) -> dict[str, Any]:
    """The state as the items of a checkpoint: `params`, and `training` with the rest."""
    training = {"step": state.step, "opt_state": state.opt_state, "key": state.key}
    if state.objectives:
        training[OBJECTIVES] = state.objectives
    if state.carried is not None:
        # By name, without the memory of a model that has none: orbax refuses arrays without
        # entries.
        named = named_leaves(state.carried)
        training["carried"] = {name: leaf for name, leaf in named.items() if leaf.size}
    return {"params": state.params, "training": training}


def from_items(items: Mapping[str, Any], abstract: TrainState) -> TrainState:
    """The inverse of `to_items`, shaped like `abstract`."""
    training = {OBJECTIVES: {}, **items["training"]}
    if abstract.carried is not None:
        saved = training["carried"]

        def leaf(name: str, like: Any) -> Array:
            empty = jnp.zeros(like.shape, like.dtype, device=like.sharding)
            return saved[name] if like.size else empty

        training["carried"] = map_named(leaf, abstract.carried)
    return TrainState(params=items["params"], **training)
