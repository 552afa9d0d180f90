"""The long-term memory of a row that several devices share (`models/sequence.py`).

The delta rule is linear in the memory: the tokens of a device take M to A M + B, and read
`r_t = (A_t^T q_t)^T M + ...`. Both parts come from one scan whose values have S more columns that
are zero and begin from the identity. A and B of all devices then give each the M before its tokens.
"""

from typing import Any

import jax.numpy as jnp

from mmrec_jax.models import sequence
from mmrec_jax.models.mmrec.memory import delta_scan
from mmrec_jax.models.mmrec.scan import accumulation_dtype
from mmrec_jax.typing import Array, Float, typed


@typed
def delta_scan_of_row(
    q: Float[Array, "B T H S"],
    k: Float[Array, "B T H S"],
    v: Float[Array, "B T H K"],
    alpha: Float[Array, "B T H"],
    beta: Float[Array, "B T H"],
    m0: Float[Array, "B H S K"],
    **options: Any,
) -> tuple[Float[Array, "B T H K"], Float[Array, "B H S K"]]:
    """`delta_scan` of this device's tokens in their row; `m0` is before those of the first device.

    The memory returned is that after the tokens of the last device.
    """
    if sequence.parts() == 1:
        return delta_scan(q, k, v, alpha, beta, m0, **options)
    dtype, slots, width = accumulation_dtype(v.dtype), q.shape[-1], v.shape[-1]
    values = jnp.pad(v.astype(dtype), [(0, 0)] * 3 + [(0, slots)])
    identity = jnp.broadcast_to(jnp.eye(slots, dtype=dtype), (*m0.shape[:-1], slots))
    begin = jnp.concatenate([jnp.zeros_like(m0, dtype), identity], axis=-1)
    reads, after = delta_scan(q, k, values, alpha, beta, begin, **options)
    transition, written = after[..., width:], after[..., :width]
    m, m_last = sequence.states_between(transition, written, m0.astype(dtype), jnp.matmul)
    r = reads[..., :width] + jnp.einsum("bths,bhsk->bthk", reads[..., width:], m)
    return r.astype(v.dtype), m_last
