"""Cross-entropy."""

import jax
import jax.numpy as jnp

from mmrec_jax.typing import Array, Float, Int, typed


@typed
def token_nats(logits: Float[Array, "B T V"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """`-log p(target)` of every token in nats, in float32."""
    logits = logits.astype(jnp.float32)
    target_logit = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - target_logit


@typed
def weighted_nats(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], weights: Float[Array, "B T"]
) -> Float[Array, ""]:
    """Sum of `weight * -log p(target)` in nats, in float32.

    A sum, not a mean: means of parts with different total weights do not add up to the whole.
    """
    # Chosen, not multiplied by 0: whatever stands at padding, it does not count.
    return jnp.sum(jnp.where(weights > 0, weights * token_nats(logits, targets), 0))
