"""Next-token cross-entropy."""

import jax
import jax.numpy as jnp

from mmrec_jax.array_typing import Array, Bool, Float, Int, typed


@typed
def next_token_nats(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> Float[Array, ""]:
    """Sum of `-log p(target)` in nats over the tokens where `mask` is True, in float32.

    A sum, not a mean: means of parts with different token counts do not add up to the whole.
    """
    logits = logits.astype(jnp.float32)
    target_logit = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nats = jax.nn.logsumexp(logits, axis=-1) - target_logit
    return jnp.sum(jnp.where(mask, nats, 0))
