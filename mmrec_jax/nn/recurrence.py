"""The short-term memory: MM-Rec's core formula, a gated recurrence that is nonlinear in its state.

    h_t = gamma_t * h_{t-1} + b_t * 2 sigmoid(w * h_{t-1} + c)

The gate is diagonal (one weight `w` a channel), so `dh_t / dh_{t-1}` is diagonal too:

    J_t = gamma_t + b_t * 2 w sigmoid'(w * h_{t-1} + c)

and, by the implicit function theorem, the gradient of the whole solve is one reversed linear scan
with J at the solution. Nothing is unrolled or stored beyond `h` itself.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from mmrec_jax.array_typing import Array, Bool, Float, typed
from mmrec_jax.nn import scan

GatedBackend = Literal["auto", "sequential"]


@typed
def gated_scan(
    gamma: Float[Array, "B T E"],
    b: Float[Array, "B T E"],
    w: Float[Array, "E"],
    c: Float[Array, "E"],
    h0: Float[Array, "B E"] | None = None,
    *,
    reset: Bool[Array, "B T"] | None = None,
    backend: GatedBackend = "auto",
) -> tuple[Float[Array, "B T E"], Float[Array, "B E"], dict[str, Array]]:
    """Solves the core formula for every t.

    Args:
      gamma: decay of the carried state, in (0, 1); 1 at padding.
      b: input, already scaled by the input multiplier; 0 at padding.
      w: weight of the state in its own gate, one a channel.
      c: bias of the gate.
      h0: state before the first token; zero when None.
      reset: True where a document begins: the carried state (h0 included) counts as zero there,
        in the decayed term and in the gate.
      backend: "sequential" steps through time with `jax.lax.scan`; "auto" means the same.

    Returns:
      `h` in the dtype of `b`; the last state, at least float32; and `info`: `iterations` (passes
      of an iterative solver, 0 here), `residual` (largest error of the formula at the solution,
      0 here) and `fell_back` (1 if a solver gave up and the sequential answer was used).
    """
    if backend not in ("auto", "sequential"):
        raise ValueError(f"unknown backend {backend!r}; use auto or sequential")
    dtype = scan.accumulation_dtype(jnp.result_type(gamma, b, w, c))
    if h0 is None:
        h0 = jnp.zeros(b[:, 0].shape, dtype)
    # A weight that is 1 inside a document and 0 at its first token cuts every path from h_{t-1}.
    keep = jnp.ones(b.shape[:2], dtype) if reset is None else 1 - reset.astype(dtype)
    h = _solve(*(x.astype(dtype) for x in (gamma, b, w, c, h0)), keep)
    info = {name: jnp.zeros((), jnp.float32) for name in ("iterations", "residual", "fell_back")}
    return h.astype(b.dtype), h[:, -1], info


def _per_channel(x: Array, like: Array) -> Array:
    """`x [E]` with leading axes of size 1, to the rank of `like [..., E]`."""
    return jnp.expand_dims(x, tuple(range(like.ndim - 1)))


def _gate(w: Array, c: Array, h_prev: Array) -> tuple[Array, Array]:
    """The gate 2 sigmoid(w h + c) and its derivative with respect to its argument."""
    s = jax.nn.sigmoid(_per_channel(w, h_prev) * h_prev + _per_channel(c, h_prev))
    return 2 * s, 2 * s * (1 - s)


@jax.custom_vjp
def _solve(gamma: Array, b: Array, w: Array, c: Array, h0: Array, keep: Array) -> Array:
    def step(h: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        gamma_t, b_t, keep_t = inputs
        h_prev = keep_t[:, None] * h
        h = gamma_t * h_prev + b_t * _gate(w, c, h_prev)[0]
        return h, h

    time_major = (gamma.swapaxes(0, 1), b.swapaxes(0, 1), keep.swapaxes(0, 1))
    _, h = jax.lax.scan(step, h0, time_major)
    return h.swapaxes(0, 1)


def _solve_forward(*inputs: Array) -> tuple[Array, tuple[Array, ...]]:
    # Calls the rule itself, not its body: differentiating the gradient must find this rule again.
    h = _solve(*inputs)
    return h, (*inputs, h)


def _solve_backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
    gamma, b, w, c, h0, keep, h = residuals
    h_prev = keep[..., None] * scan.shift(h, h0)
    gate, slope = _gate(w, c, h_prev)
    slope = b * slope
    jacobian = keep[..., None] * (gamma + _per_channel(w, h) * slope)
    adjoint, _ = scan.linear_scan(scan.shift(jacobian, None, True), g, reverse=True)
    d_argument = adjoint * slope
    return (
        adjoint * h_prev,
        adjoint * gate,
        jnp.sum(d_argument * h_prev, axis=(0, 1)),
        jnp.sum(d_argument, axis=(0, 1)),
        jacobian[:, 0] * adjoint[:, 0],
        jnp.zeros_like(keep),
    )


_solve.defvjp(_solve_forward, _solve_backward)
