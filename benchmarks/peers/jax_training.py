"""A plain training step of the attention model in Flax, as `torch_training.py` has it in torch."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mmrec_jax.models.attention.model import Attention
from mmrec_jax.typing import Array

Metrics = dict[str, Array]


@flax.struct.dataclass
class TrainState:
    """What a step changes."""

    params: Any
    opt_state: optax.OptState


def initial_state(
    model: Attention, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """The state before the first update. Traceable."""
    params = model.init(jax.random.key(seed))
    return TrainState(params=params, opt_state=optimizer.init(params))


def train_step(
    model: Attention,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: dict[str, Array],
) -> tuple[TrainState, Metrics]:
    """One update, pure.

    Args:
      model: the model.
      optimizer: clipping included.
      state: parameters and what the optimizer remembers.
      batch: [B, T] each: `inputs` and `targets` (int32), `weights` (float32, of each target in the
        loss) and, where rows hold several documents that must not see each other, `segment_ids`.

    Returns:
      The next state; `loss` (nats, mean by weight) and `grad_norm` (before clipping).
    """
    weights = batch["weights"]

    def loss(params: Any) -> Array:
        logits = model.apply(params, batch["inputs"], None, batch.get("segment_ids")).logits
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        return jnp.sum(weights * nats) / jnp.sum(weights)

    value, gradients = jax.value_and_grad(loss)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {"loss": value, "grad_norm": optax.tree.norm(gradients)}
    return TrainState(params=params, opt_state=opt_state), metrics
