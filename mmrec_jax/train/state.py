"""Everything a training step changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mmrec_jax.array_typing import Array
from mmrec_jax.nn.model import MMRecLM
from mmrec_jax.nn.state import MMRecState, zero_state


@flax.struct.dataclass
class TrainState:
    """Parameters, and all that is remembered. `key` holds raw key data, fit for any file."""

    step: Array  # int32 scalar: updates done
    params: Any
    opt_state: optax.OptState
    key: Array  # uint32; randomness of step n is fold_in(key, n)
    # What the model remembers of each row of the last batch; None where nothing is carried on.
    carried: MMRecState | None = None


def initial_state(
    model: MMRecLM,
    optimizer: optax.GradientTransformation,
    seed: int,
    carried_rows: int | None = None,
) -> TrainState:
    """The state before the first update. Traceable: use under `jax.jit` or `jax.eval_shape`.

    Args:
      model: the model.
      optimizer: the optimizer.
      seed: of the parameters and of dropout.
      carried_rows: rows of a batch, where the model's state is carried from step to step.
    """
    key = jax.random.key(seed)
    params = model.init(key, jnp.zeros((1, 2), jnp.int32))["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=jax.random.key_data(jax.random.fold_in(key, 1)),
        carried=None if carried_rows is None else zero_state(model.config, carried_rows),
    )
