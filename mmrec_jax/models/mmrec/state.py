"""What the model remembers between calls: a fixed number of bytes, whatever has been read."""

import flax.struct
import jax.numpy as jnp

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.typing import Array, Float, Int


@flax.struct.dataclass
class MMRecState:
    """State of a whole model; layers are stacked on axis 0."""

    h: Float[Array, "L B E"]  # short-term memories, float32
    m: Float[Array, "L B H S K"]  # long-term memories, float32; H is 0 with memory="none"
    segment: Int[Array, "B"]  # id of the last real token's document; 0 before the first token
    position: Int[Array, "B"]  # tokens read of that document


def zero_state(config: MMRecConfig, batch: int) -> MMRecState:
    """The state before the first token of `batch` rows."""
    c = config
    return MMRecState(
        h=jnp.zeros((c.num_layers, batch, c.E), c.state_dtype),
        m=jnp.zeros((c.num_layers, batch, c.H, c.S, c.K), c.state_dtype),
        segment=jnp.zeros(batch, jnp.int32),
        position=jnp.zeros(batch, jnp.int32),
    )


# Which axis of each array is the batch.
BATCH_AXES = MMRecState(h=1, m=1, segment=0, position=0)  # type: ignore[arg-type]
