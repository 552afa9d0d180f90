"""The long-term memory: matrices that associate keys with values, written by the gated delta rule.

    M_t = alpha_t (I - beta_t k_t k_t^T) M_{t-1} + beta_t k_t v_t^T,      r_t = M_t^T q_t

`delta_scan` works chunk by chunk (`delta_chunk.py`): inside a chunk the writes are solved with
matrix products, and only one matrix per chunk is passed on. `delta_steps` is the definition itself,
token by token: the reference, and the path of one-token generation.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmrec_jax.models.mmrec.delta_chunk import Chunk, delta_chunks
from mmrec_jax.models.mmrec.delta_kernel import delta_kernel, takes
from mmrec_jax.models.mmrec.kernels import kernel_target
from mmrec_jax.models.mmrec.scan import accumulation_dtype
from mmrec_jax.typing import Array, Bool, Float, Int, typed

# log(alpha) below this has no effect on float32 results and would only produce inf - inf.
_SMALLEST_ALPHA = 1e-30


@typed
def delta_scan(
    q: Float[Array, "B T H S"],
    k: Float[Array, "B T H S"],
    v: Float[Array, "B T H K"],
    alpha: Float[Array, "B T H"],
    beta: Float[Array, "B T H"],
    m0: Float[Array, "B H S K"] | None = None,
    *,
    reset: Bool[Array, "B T"] | None = None,
    chunk: int = 32,
    error_correction: bool = True,
) -> tuple[Float[Array, "B T H K"], Float[Array, "B H S K"]]:
    """Writes and reads the memory for every t, in chunks.

    By kernels where there are any for the devices in use and for these shapes (`kernels.py`,
    `delta_kernel.py`), else by plain JAX.

    Args:
      q: queries; a read comes after the write of the same token.
      k: keys, expected to have unit length (or be zero).
      v: values.
      alpha: share of the memory that is kept, in (0, 1]; 1 at padding.
      beta: strength of the write, in [0, 1); 0 at padding.
      m0: memory before the first token; zero when None.
      reset: True where a document begins: the memory counts as zero before that token's write.
      chunk: tokens C per chunk.
      error_correction: False leaves the term `beta_t k_t k_t^T` out: `M_t = alpha_t M_{t-1} +
        beta_t k_t v_t^T`, a memory that only decays.

    Returns:
      The reads `r`, in the dtype of `v`, and the last memory, at least float32.
    """
    batch, length, heads, _ = q.shape
    dtype = accumulation_dtype(v.dtype)
    target = kernel_target(dtype, batch)
    if target is not None and not takes(target, q, k, v, chunk):
        target = None
    if target is None:
        chunk = min(chunk, length)
    n = -(-length // chunk)

    def split(x: Array) -> Array:
        """[B, T, H, ...] -> [n, B, H, C, ...]; the padded tail writes nothing and keeps all."""
        tail = n * chunk - length
        x = jnp.pad(x, [(0, 0), (0, tail)] + [(0, 0)] * (x.ndim - 2))
        x = x.reshape(batch, n, chunk, *x.shape[2:])
        return jnp.moveaxis(x, (1, 3), (0, 2))

    log_alpha = split(jnp.log(jnp.maximum(alpha.astype(dtype), _SMALLEST_ALPHA)))
    if reset is None:
        document = jnp.zeros((n, batch, 1, chunk), jnp.int32)
    else:
        starts = split(reset[..., None])
        log_alpha = jnp.where(starts, 0, log_alpha)
        document = jnp.cumsum(starts, axis=-1, dtype=jnp.int32)
    if m0 is None:
        m0 = jnp.zeros((batch, heads, k.shape[-1], v.shape[-1]), dtype)
    total = jnp.cumsum(log_alpha, axis=-1)
    chunks = Chunk(split(q), split(k), split(v), total, split(beta).astype(dtype), document)
    solve = delta_chunks if target is None else partial(delta_kernel, target)
    r, m_last = solve(chunks, m0.astype(dtype), error_correction)
    r = jnp.moveaxis(r, (0, 2), (1, 3)).reshape(batch, n * chunk, heads, -1)[:, :length]
    return r.astype(v.dtype), m_last


@typed
def delta_steps(
    q: Float[Array, "B T H S"],
    k: Float[Array, "B T H S"],
    v: Float[Array, "B T H K"],
    alpha: Float[Array, "B T H"],
    beta: Float[Array, "B T H"],
    m0: Float[Array, "B H S K"] | None = None,
    *,
    reset: Bool[Array, "B T"] | None = None,
    error_correction: bool = True,
) -> tuple[Float[Array, "B T H K"], Float[Array, "B H S K"]]:
    """`delta_scan` by its definition, one token at a time (arguments and results as there)."""
    dtype = accumulation_dtype(v.dtype)
    if m0 is None:
        m0 = jnp.zeros((*k[:, 0].shape, v.shape[-1]), dtype)
    keep = jnp.ones(q.shape[:2], dtype) if reset is None else 1 - reset.astype(dtype)

    def step(m: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        q_t, k_t, v_t, alpha_t, beta_t, keep_t = inputs
        m = (keep_t[:, None] * alpha_t)[..., None, None] * m
        if error_correction:
            v_t = v_t - jnp.einsum("bhsk,bhs->bhk", m, k_t)
        m = m + beta_t[..., None, None] * k_t[..., :, None] * v_t[..., None, :]
        return m, jnp.einsum("bhsk,bhs->bhk", m, q_t)

    time_major = [x.astype(dtype).swapaxes(0, 1) for x in (q, k, v, alpha, beta, keep)]
    m_last, r = jax.lax.scan(step, m0.astype(dtype), tuple(time_major))
    return r.swapaxes(0, 1).astype(v.dtype), m_last


class Told(NamedTuple):
    """What `recall` needs of the tokens before, in which values are constants to the gradient."""

    m: Float[Array, "B H S K"]
    k: Float[Array, "B R H S"]  # of the last R tokens
    v: Float[Array, "B R H K"]


@typed
def recall(
    told: Told,
    back: Int[Array, "B T"],
    k: Float[Array, "B T H S"],
    v: Float[Array, "B T H K"],
    alpha: Float[Array, "B T H"],
    beta: Float[Array, "B T H"],
    reset: Bool[Array, "B T"],
    *,
    chunk: int = 32,
    error_correction: bool = True,
) -> tuple[dict[str, Array], Told]:
    """`reads [B, T, H, K]`, M_t^T k_s, and `values`, v_s, of each token t and the one `back` of it.

    s = t - back is one of these tokens or of the R before them. Values are constants to the
    gradient, inside the memories, too: those memories are others than the model's own. Returns what
    the following tokens need, too.
    """
    length, reach = k.shape[1], told.k.shape[1]
    v = jax.lax.stop_gradient(v)
    keys, values = (jnp.concatenate(pair, axis=1) for pair in ((told.k, k), (told.v, v)))
    index = (reach + jnp.arange(length)[None] - back)[..., None, None]
    asked = jnp.take_along_axis(keys, index, axis=1)
    v = v.astype(accumulation_dtype(v.dtype))
    options: dict[str, Any] = {"chunk": chunk, "error_correction": error_correction}
    reads, m = delta_scan(asked, k, v, alpha, beta, told.m, reset=reset, **options)
    found = {"reads": reads, "values": jnp.take_along_axis(values, index, axis=1).astype(v.dtype)}
    return found, Told(m, keys[:, length:], values[:, length:])
