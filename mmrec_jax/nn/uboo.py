"""UBOO: each layer predicts its own next short-term state (an auxiliary loss).

    L = mean( n(h_{t-1}) W_p - stop_gradient(n(h_t)) )^2,   n = RMSNorm without a scale

over channels and the tokens whose predecessor is in the same document. With the trunk's gradient
the loss can be lowered by slowing the state down, so the error of the trivial prediction W_p = I
and the variance of n(h) are reported beside it: `skill = 1 - L / L(I)`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.array_typing import Array, Bool, Float
from mmrec_jax.config import ModelConfig
from mmrec_jax.nn.layers import normalise
from mmrec_jax.nn.scan import shift


class StatePredictor(nn.Module):
    """Predicts `n(h_t)` from `n(h_{t-1})`. Used in training only; never counted or exported."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "B T E"],
        h0: Float[Array, "B E"],
        predictable: Bool[Array, "B T"],
    ) -> dict[str, Array]:
        """Means over the predictable tokens (0 if there are none).

        Args:
          h: short-term states, padding holding its predecessor's.
          h0: state before the first token.
          predictable: real tokens whose predecessor is in the same document.

        Returns:
          `loss`, `identity` (the loss of W_p = I) and `variance` (of n(h) over tokens), scalars.
        """
        kernel = self.param(
            "kernel",
            nn.initializers.lecun_normal(),
            (self.config.E, self.config.E),
            jnp.float32,
        )
        trunk = jax.lax.stop_gradient if self.config.uboo_isolate else (lambda x: x)
        before = normalise(trunk(shift(h, h0)))
        after = jax.lax.stop_gradient(normalise(h))
        weight = predictable[..., None] / (jnp.maximum(jnp.sum(predictable), 1) * h.shape[-1])

        def mean(x: Array) -> Array:
            return jnp.sum(weight * x)

        centre = jnp.sum(weight * h.shape[-1] * after, axis=(0, 1))
        return {
            "loss": mean(jnp.square(before @ kernel - after)),
            "identity": mean(jnp.square(jax.lax.stop_gradient(before) - after)),
            "variance": mean(jnp.square(after - centre[None, None])),
        }
