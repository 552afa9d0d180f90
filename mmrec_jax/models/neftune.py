"""NEFTune (arXiv 2310.05914): uniform noise on the embedded tokens, in fine-tuning only.

    x + u alpha / sqrt(n d),    u uniform in (-1, 1),  n tokens in the document,  d the width

so that the noise of a document has the length alpha / sqrt(3) on average, whatever its size.
"""

import jax
import jax.numpy as jnp

from mmrec_jax.typing import Array, Float, Int, typed


@typed
def neftune(
    key: Array,
    embeddings: Float[Array, "B T D"],
    segment_ids: Int[Array, "B T"] | None,
    alpha: float | Array,
    scale: Float[Array, "B T"] | None = None,
) -> Float[Array, "B T D"]:
    """The embeddings with noise; bit for bit the same where alpha or the scale is 0.

    Args:
      key: of the noise.
      embeddings: embedded tokens.
      segment_ids: 0 at padding, which is left untouched; a document's id elsewhere. n counts the
        tokens of a document in its row. None: each row is one document.
      alpha: strength, a number or a scalar array; 5 to 15 in the paper.
      scale: factor of the noise of each token.

    Returns:
      In the dtype of `embeddings`; the sum is made in float32.
    """
    batch, length, width = embeddings.shape
    if segment_ids is None:
        segment_ids = jnp.ones((batch, length), jnp.int32)
    real = segment_ids > 0
    size = jnp.maximum(_tokens_of_document(segment_ids), 1).astype(jnp.float32)
    bound = jnp.where(real, jnp.asarray(alpha, jnp.float32) * jax.lax.rsqrt(size * width), 0)
    if scale is not None:
        bound = bound * scale.astype(jnp.float32)
    bound = bound[..., None]
    noise = jax.random.uniform(key, embeddings.shape, jnp.float32, -1, 1) * bound
    noisy = (embeddings.astype(jnp.float32) + noise).astype(embeddings.dtype)
    # Chosen, since -0.0 + 0.0 is another number than -0.0.
    return jnp.where(bound != 0, noisy, embeddings)


def _tokens_of_document(segment_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """How many tokens of its row have the id of each token, in time that is linear in T log T."""

    def row(ids: Array) -> Array:
        ordered = jnp.sort(ids)
        after = jnp.searchsorted(ordered, ids, side="right")
        return after - jnp.searchsorted(ordered, ids, side="left")

    return jax.vmap(row)(segment_ids)
