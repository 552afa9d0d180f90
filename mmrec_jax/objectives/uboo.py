"""UBOO: each layer predicts its own next short-term state (an auxiliary loss).

    L = mean( n(h_{t-1}) W_p - stop_gradient(n(h_t)) )^2,   n = RMSNorm without a scale

over channels and the tokens whose predecessor is in the same document. With the trunk's gradient
the loss can be lowered by slowing the state down, so the error of the trivial prediction W_p = I
and the variance of n(h) are reported beside it: `skill = 1 - L / L(I)`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.layers import normalise
from mmrec_jax.models.mmrec.scan import shift
from mmrec_jax.typing import Array, Bool, Float


class StatePredictor(nn.Module):
    """Predicts `n(h_t)` from `n(h_{t-1})`. Used in training only; never counted or exported."""

    config: MMRecConfig

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "B T E"],
        h0: Float[Array, "B E"],
        predictable: Bool[Array, "B T"],
    ) -> dict[str, Array]:
        """Sums over the predictable tokens, from which `summarise` makes the loss.

        Args:
          h: short-term states, padding holding its predecessor's.
          h0: state before the first token.
          predictable: real tokens whose predecessor is in the same document.

        Returns:
          `error` (squares of the prediction's error), `still` (the same for W_p = I), `square` (of
          n(h)), `total [E]` (of n(h)) and `tokens`.
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
        weight = predictable[..., None].astype(jnp.float32)
        return {
            "error": jnp.sum(weight * jnp.square(before @ kernel - after)),
            "still": jnp.sum(weight * jnp.square(jax.lax.stop_gradient(before) - after)),
            "square": jnp.sum(weight * jnp.square(after)),
            "total": jnp.sum(weight * after, axis=(0, 1)),
            "tokens": jnp.sum(weight),
        }


def summarise(sums: dict[str, Array], width: int) -> dict[str, Array]:
    """Means over tokens and channels from the sums of one or more pieces (axis 0) of a text.

    Returns:
      `loss`, `identity` (the loss of W_p = I) and `variance` (of n(h) over tokens), scalars; 0
      where there is no predictable token.
    """
    total = sums["total"].reshape(-1, width)
    whole = {name: jnp.sum(x) for name, x in sums.items() if name != "total"}
    numbers = jnp.maximum(whole["tokens"], 1) * width
    mean = jnp.sum(total, axis=0) / jnp.maximum(whole["tokens"], 1)
    return {
        "loss": whole["error"] / numbers,
        "identity": whole["still"] / numbers,
        "variance": whole["square"] / numbers - jnp.mean(jnp.square(mean)),
    }
