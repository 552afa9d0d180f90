"""Everything a training step changes, and what it leaves alone."""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mmrec_jax import dora
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from mmrec_jax.tree import leaf_names, map_named
from mmrec_jax.typing import Array


@flax.struct.dataclass
class Base:
    """The frozen model under adapters: neither differentiated, nor updated, nor saved."""

    params: Any
    squares: Any  # `dora.squares`


@flax.struct.dataclass
class TrainState:
    """Parameters, and all that is remembered. `key` holds raw key data, fit for any file."""

    step: Array  # int32 scalar: updates done
    params: Any  # what is trained: the model's parameters, or the adapters on `base`
    opt_state: optax.OptState
    key: Array  # uint32; randomness of step n is fold_in(key, n)
    # What the model remembers of each row of the last batch; None where nothing is carried on.
    carried: MMRecState | None = None
    base: Base | None = None


def initial_state(
    model: MMRecLM,
    optimizer: optax.GradientTransformation,
    seed: int,
    carried_rows: int | None = None,
    *,
    params: Any = None,
    rules: Sequence[dora.AdapterRule | dora.RowRule] = (),
) -> TrainState:
    """The state before the first update. Traceable: use under `jax.jit` or `jax.eval_shape`.

    Args:
      model: the model.
      optimizer: the optimizer.
      seed: of the parameters, of the adapters and of dropout.
      carried_rows: rows of a batch, where the model's state is carried from step to step.
      params: parameters to begin with; None: the model's own start.
      rules: the adapters that are trained, on frozen `params`; none: all parameters are.

    Raises:
      UserError: a rule does not fit the parameters.
    """
    key = jax.random.key(seed)
    if params is None:
        params = model.init(key, jnp.zeros((1, 2), jnp.int32))["params"]
    base = None
    if rules:
        frozen, params = params, dora.init(jax.random.fold_in(key, 2), params, rules)
        base = Base(frozen, dora.squares(frozen, params))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=jax.random.key_data(jax.random.fold_in(key, 1)),
        carried=None if carried_rows is None else zero_state(model.config, carried_rows),
        base=base,
    )


def to_items(state: TrainState) -> dict[str, Any]:
    """The arrays of a checkpoint, by item. The state may be abstract."""
    training = {"step": state.step, "opt_state": state.opt_state, "key": state.key}
    if state.carried is not None:
        # By name, without the memory of a model that has none: orbax refuses empty arrays.
        named = zip(leaf_names(state.carried), jax.tree.leaves(state.carried), strict=True)
        training["carried"] = {name: leaf for name, leaf in named if leaf.size}
    return {"params": state.params, "training": training}


def from_items(items: dict[str, Any], abstract: TrainState) -> TrainState:
    """The state, without a base, from the arrays that `to_items` gave.

    Args:
      items: arrays, shaped like those of `to_items(abstract)`.
      abstract: shapes, dtypes and shardings.
    """
    training = dict(items["training"])
    saved = training.pop("carried", {})

    def leaf(name: str, like: jax.ShapeDtypeStruct) -> jax.Array:
        return saved[name] if like.size else jnp.zeros(like.shape, like.dtype, device=like.sharding)

    carried = None if abstract.carried is None else map_named(leaf, abstract.carried)
    return TrainState(params=items["params"], carried=carried, **training)
