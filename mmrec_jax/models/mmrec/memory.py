"""The long-term memory: matrices that associate keys with values, written by the gated delta rule.

    M_t = alpha_t (I - beta_t k_t k_t^T) M_{t-1} + beta_t k_t v_t^T,      r_t = M_t^T q_t

`delta_scan` works chunk by chunk (gated delta networks, arXiv 2412.06464): inside a chunk the
writes are solved with matrix products, and only one matrix per chunk is passed on. `delta_steps`
is the definition itself, token by token: the reference, and the path of one-token generation.
"""

from typing import Any

import jax
import jax.numpy as jnp

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
    chunk = min(chunk, length)
    n = -(-length // chunk)

    def split(x: Array) -> Array:
        """[B, T, H, ...] -> [n, B, H, C, ...]; the padded tail writes nothing and keeps all."""
        tail = n * chunk - length
        x = jnp.pad(x, [(0, 0), (0, tail)] + [(0, 0)] * (x.ndim - 2))
        x = x.reshape(batch, n, chunk, *x.shape[2:])
        return jnp.moveaxis(x, (1, 3), (0, 2))

    q, k, v = split(q), split(k), split(v)
    beta = split(beta).astype(dtype)
    log_alpha = split(jnp.log(jnp.maximum(alpha.astype(dtype), _SMALLEST_ALPHA)))
    if reset is None:
        document = jnp.zeros((n, 1, 1, chunk), jnp.int32)
    else:
        starts = split(reset[..., None])
        log_alpha = jnp.where(starts, 0, log_alpha)
        document = jnp.cumsum(starts, axis=-1, dtype=jnp.int32)

    total = jnp.cumsum(log_alpha, axis=-1)  # G
    later = jnp.arange(chunk)[:, None] - jnp.arange(chunk)[None]
    visible = (later >= 0)[None, None, None] & (document[..., :, None] == document[..., None, :])
    # Masked inside the exponent: exp of a large positive difference would turn gradients to NaN.
    decay = jnp.exp(jnp.where(visible, total[..., :, None] - total[..., None, :], -jnp.inf))
    from_start = jnp.exp(total) * (document == 0)
    to_end = decay[..., -1, :]
    whole = from_start[..., -1]

    scores = jnp.einsum("nbhis,nbhjs->nbhij", q, k, preferred_element_type=dtype) * decay
    removed: tuple[Array, ...] = ()
    if error_correction:
        overlap = jnp.einsum("nbhis,nbhjs->nbhij", k, k, preferred_element_type=dtype) * decay
        overlap = beta[..., None] * jnp.where((later > 0)[None, None, None], overlap, 0)
        inverse = inverse_unit_lower(overlap) * beta[..., None, :]
        written = inverse @ v.astype(dtype)  # U
        removed = (inverse @ (from_start[..., None] * k.astype(dtype)),)  # W
    else:
        written = beta[..., None] * v.astype(dtype)
    keys_to_end = to_end[..., None] * k.astype(dtype)

    def step(m: Array, inputs: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        values, keys_c, whole_c, *removed_c = inputs
        if removed_c:
            values = values - removed_c[0] @ m
        m_next = whole_c[..., None, None] * m + keys_c.swapaxes(-1, -2) @ values
        return m_next, (m, values)

    if m0 is None:
        m0 = jnp.zeros((batch, heads, k.shape[-1], v.shape[-1]), dtype)
    inputs = (written, keys_to_end, whole, *removed)
    m_last, (m, values) = jax.lax.scan(step, m0.astype(dtype), inputs)
    r = (from_start[..., None] * q.astype(dtype)) @ m + scores @ values
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


@typed
def read_back(
    earlier: Int[Array, "B T"],
    k: Float[Array, "L B T H S"],
    v: Float[Array, "L B T H K"],
    alpha: Float[Array, "L B T H"],
    beta: Float[Array, "L B T H"],
    reset: Bool[Array, "L B T"],
    m0: Float[Array, "L B H S K"],
    *,
    chunk: int = 32,
    error_correction: bool = True,
) -> tuple[Float[Array, "L B T H K"], Float[Array, "L B T H K"]]:
    """`M_t^T k_s` and `v_s` of each token t and the `earlier` one s, in every layer.

    Values are constants to the gradient, inside the memories, too. The backward pass makes the
    memories again, one layer at a time.
    """
    v = jax.lax.stop_gradient(v.astype(accumulation_dtype(v.dtype)))
    index = earlier[..., None, None]

    def layer(written: tuple[Array, ...]) -> Array:
        k, v, alpha, beta, reset, m0 = written
        asked = jnp.take_along_axis(k, index, axis=1)
        options: dict[str, Any] = {"chunk": chunk, "error_correction": error_correction}
        return delta_scan(asked, k, v, alpha, beta, m0, reset=reset, **options)[0]

    reads = jax.lax.map(jax.checkpoint(layer), (k, v, alpha, beta, reset, m0))
    return reads, jnp.take_along_axis(v, index[None], axis=2)


# Largest block that the product form may invert: error at most 3e-6 on fully correlated keys.
_BLOCK = 8


@jax.custom_vjp
def inverse_unit_lower(a: Array) -> Array:
    """`(I + a)^{-1}` for strictly lower-triangular `a [..., C, C]`, any C, by matrix products only.

    Keys of a language model are correlated, and then the textbook product `(I - A)(I + A^2)...`
    cancels catastrophically in float32. It is exact enough only in small blocks; larger ones are
    assembled from halves: inv [[P, 0], [A21, Q]] = [[inv P, 0], [-inv Q A21 inv P, inv Q]].
    The gradient is that of a matrix inverse, `-X^T g X^T`, instead of that of the construction.
    """
    size = a.shape[-1]
    if size <= _BLOCK:  # (I - a)(I + a^2)(I + a^4)...: as many factors as log2 of the size
        identity = jnp.broadcast_to(jnp.eye(size, dtype=a.dtype), a.shape)
        result, power, degree = identity - a, a, 2
        while degree < size:
            power = power @ power
            result = result @ (identity + power)
            degree *= 2
        return result
    half = -(-size // 2)
    upper = inverse_unit_lower(a[..., :half, :half])
    lower = inverse_unit_lower(a[..., half:, half:])
    corner = -lower @ (a[..., half:, :half] @ upper)
    top = jnp.concatenate([upper, jnp.zeros_like(a[..., :half, half:])], axis=-1)
    return jnp.concatenate([top, jnp.concatenate([corner, lower], axis=-1)], axis=-2)


def _forward(a: Array) -> tuple[Array, Array]:
    inverse = inverse_unit_lower(a)
    return inverse, inverse


def _backward(inverse: Array, g: Array) -> tuple[Array]:
    transposed = inverse.swapaxes(-1, -2)
    return (jnp.tril(-transposed @ g @ transposed, -1),)


inverse_unit_lower.defvjp(_forward, _backward)
