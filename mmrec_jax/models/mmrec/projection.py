"""HEM: all projections of a block's input in one fused matrix product, or one matrix each."""

import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.layers import dense
from mmrec_jax.typing import Array, Float


def projection_widths(config: MMRecConfig) -> dict[str, int]:
    """Name and width of each projection, in the column order of the fused matrix."""
    c = config
    widths = {"z": c.E, "v": c.H * c.K, "g": c.E + c.H * c.K, "q": c.H * c.S, "k": c.H * c.S}
    widths |= {"beta": c.H, "alpha": c.H}
    if c.gate == "input":
        widths["i"] = c.E
    return {name: width for name, width in widths.items() if width}


class InputProjection(nn.Module):
    """Maps the block's input to `z, v, g, q, k, beta, alpha` (and `i` with gate="input").

    With `use_hem` the parameter is one matrix `fused`; without, one matrix per name. Slicing
    `fused` by `projection_widths` gives the same function.
    """

    config: MMRecConfig

    @nn.compact
    def __call__(self, u: Float[Array, "B T D"]) -> dict[str, Array]:
        """Projects `u`; each result is `[B, T, width]`."""
        widths = projection_widths(self.config)
        if not self.config.use_hem:
            return {name: dense(self.config, width, name)(u) for name, width in widths.items()}
        fused = dense(self.config, sum(widths.values()), "fused")(u)
        borders = [sum(list(widths.values())[: i + 1]) for i in range(len(widths) - 1)]
        return dict(zip(widths, jnp.split(fused, borders, axis=-1), strict=True))
