"""The short-term memory: MM-Rec's core formula, a gated recurrence that is nonlinear in its state.

    h_t = gamma_t * h_{t-1} + b_t * 2 sigmoid(w * h_{t-1} + c)

The gate is diagonal (one weight `w` per channel), so `dh_t / dh_{t-1}` is diagonal too:

    J_t = gamma_t + b_t * 2 w sigmoid'(w * h_{t-1} + c)

and, by the implicit function theorem, the gradient of the whole solve is one reversed linear scan
with J at the solution. Nothing is unrolled or stored beyond `h` itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models import sequence
from mmrec_jax.models.mmrec import newton, scan
from mmrec_jax.models.mmrec.kernels import KernelTarget
from mmrec_jax.models.mmrec.scan_kernel import Arrays, scan_over_time
from mmrec_jax.models.partition import device_kind
from mmrec_jax.typing import Array, Bool, Float, typed


@typed
def gated_scan(
    gamma: Float[Array, "B T E"],
    b: Float[Array, "B T E"],
    w: Float[Array, "E"],
    c: Float[Array, "E"],
    h0: Float[Array, "B E"] | None = None,
    *,
    reset: Bool[Array, "B T"] | None = None,
    backend: str = "auto",
    passes: int | None = None,
) -> tuple[Float[Array, "B T E"], Float[Array, "B E"], dict[str, Array]]:
    """Solves the core formula for every t.

    Args:
      gamma: decay of the carried state, in [0, 1]; 1 at padding.
      b: input, already scaled by the input multiplier; 0 at padding.
      w: weight of the state in its own gate, one per channel.
      c: bias of the gate.
      h0: state before the first token; zero when None. Where devices share a row
        (`models/sequence.py`) gamma, b and reset are of this device's tokens, h0 is before those of
        the first.
      reset: True where a document begins: the carried state (h0 included) counts as zero there,
        in the decayed term and in the gate.
      backend: "sequential" steps through time with `jax.lax.scan`, "kernel" inside a kernel
        (`kernels.py` says where there is one); "newton" solves all of it at once (`newton.py`), to
        8 ulp of every state, and steps through time after all for rows that do not get there;
        "auto": newton where devices share a row; else sequential on a CPU and for one token,
        kernel where there is one, else newton.
      passes: of newton, before it steps through time; None: as many as can ever be needed.

    Returns:
      `h` in the dtype of `b`; the last state, at least float32; and `info`, scalars:
      `iterations` (passes of newton; 0 with the others), `residual` (its largest error, relative
      to 1 + |state|) and `fell_back` (1 if a row needed the sequential answer).
    """
    if backend not in ("auto", "sequential", "kernel", "newton"):
        raise ValueError(f"unknown backend {backend!r}; use auto, sequential, kernel or newton")
    dtype = scan.accumulation_dtype(jnp.result_type(gamma, b, w, c))
    solver: str | KernelTarget = backend
    if backend in ("auto", "kernel") and sequence.parts() > 1:
        solver = "newton"
    elif backend in ("auto", "kernel"):
        target = scan.find_kernel(backend, dtype, b.shape)
        _, platform = device_kind()
        parallel = platform != "cpu" and b.shape[1] > 1
        solver = target or ("newton" if parallel else "sequential")
    if h0 is None:
        h0 = jnp.zeros(b[:, 0].shape, dtype)
    # A weight that is 1 inside a document and 0 at its first token cuts every path from h_{t-1}.
    keep = jnp.ones(b.shape[:2], dtype) if reset is None else 1 - reset.astype(dtype)
    inputs = [x.astype(dtype) for x in (gamma, b, w, c, h0)]
    if isinstance(solver, KernelTarget):
        gamma, *others = inputs
        h, info = _kernel_solve(solver, _marked(gamma, keep), *others), _stepped()
    else:
        h, info = _solve(*inputs, keep, solver, passes)
    return h.astype(b.dtype), sequence.last_of(h[:, -1]), info


def _per_channel(x: Array, like: Array) -> Array:
    """`x [E]` with leading axes of size 1, to the rank of `like`; nothing where it has that."""
    return jnp.expand_dims(x, tuple(range(like.ndim - x.ndim)))


def _gate(w: Array, c: Array, h_prev: Array) -> tuple[Array, Array]:
    """The gate 2 sigmoid(w h + c) and its derivative with respect to its argument."""
    s = jax.nn.sigmoid(_per_channel(w, h_prev) * h_prev + _per_channel(c, h_prev))
    return 2 * s, 2 * s * (1 - s)


def _cell(h: Array, gamma: Array, b: Array, keep: Array, w: Array, c: Array) -> tuple[Array, Array]:
    """The core formula at one step, and its derivative with respect to h."""
    h_prev = keep * h
    gate, slope = _gate(w, c, h_prev)
    return gamma * h_prev + b * gate, keep * (gamma + b * _per_channel(w, h) * slope)


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _solve(
    gamma: Array,
    b: Array,
    w: Array,
    c: Array,
    h0: Array,
    keep: Array,
    backend: str,
    passes: int | None,
) -> tuple[Array, dict[str, Array]]:
    inputs = (gamma, b, keep[..., None])

    def cell(h: Array, *at: Array) -> tuple[Array, Array]:
        gamma_t, b_t, keep_t = at
        return _cell(h, gamma_t, b_t, keep_t, w, c)

    def sequential() -> Array:
        def step(h: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
            h, _ = cell(h, *at)
            return h, h

        def from_state(h0: Array) -> Array:
            _, h = jax.lax.scan(step, h0, tuple(x.swapaxes(0, 1) for x in inputs))
            return h.swapaxes(0, 1)

        return sequence.by_turns(from_state, h0)

    if backend == "sequential":
        return sequential(), _stepped()
    solution = newton.solve(cell, inputs, h0, passes)
    solved = solution.solved[:, None, None]  # by row, so that a hard one does not change the others
    every = jnp.all(solved)
    h = jax.lax.cond(every, lambda: solution.h, lambda: jnp.where(solved, solution.h, sequential()))
    return h, {
        "iterations": solution.iterations.astype(jnp.float32),
        "residual": solution.residual.astype(jnp.float32),
        "fell_back": 1 - every.astype(jnp.float32),
    }


def _stepped() -> dict[str, Array]:
    """The statistics of a solver that has none."""
    return dict.fromkeys(("iterations", "residual", "fell_back"), jnp.zeros((), jnp.float32))


def _solve_forward(
    *arguments: Any,
) -> tuple[tuple[Array, dict[str, Array]], tuple[Array, ...]]:
    *inputs, backend, _ = arguments
    # Calls the rule itself, not its body: differentiating the gradient must find this rule again.
    h, info = _solve(*arguments)
    return (h, info), (*scan.own(backend, *inputs), h)


def _solve_backward(
    backend: str,
    passes: int | None,
    residuals: tuple[Array, ...],
    cotangents: tuple[Array, dict[str, Array]],
) -> tuple[Array, ...]:
    gamma, b, w, c, h0, keep, h = residuals
    g, _ = cotangents  # the solver's statistics have no gradient
    return *_gradients(backend, gamma, b, w, c, h0, keep, h, g), jnp.zeros_like(keep)


_solve.defvjp(_solve_forward, _solve_backward)


def _gradients(
    backend: str,
    gamma: Array,
    b: Array,
    w: Array,
    c: Array,
    h0: Array,
    keep: Array,
    h: Array,
    g: Array,
) -> tuple[Array, ...]:
    """With respect to gamma, b, w, c and h0, from the solution h and its cotangent g."""
    h_prev = keep[..., None] * sequence.shift(h, h0)
    gate, slope = _gate(w, c, h_prev)
    slope = b * slope
    jacobian = keep[..., None] * (gamma + _per_channel(w, h) * slope)
    backward = "sequential" if backend == "sequential" else "associative"
    adjoint, _ = scan.linear_scan(
        sequence.shift(jacobian, None, True), g, reverse=True, backend=backward
    )
    d_argument = adjoint * slope
    return (
        adjoint * h_prev,
        adjoint * gate,
        jnp.sum(d_argument * h_prev, axis=(0, 1)),
        jnp.sum(d_argument, axis=(0, 1)),
        sequence.at_begin(jacobian[:, 0] * adjoint[:, 0]),
    )


# By a kernel. There a document's first token is where the decay is negative: one array less.


def _marked(gamma: Array, keep: Array) -> Array:
    return jnp.where(keep[..., None] == 0, -1, gamma)


def _kept(gamma: Array, h_prev: Array) -> Array:
    """The carried state, zero at a document's first token."""
    return jnp.where(gamma < 0, 0, h_prev)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_solve(
    target: KernelTarget, gamma: Array, b: Array, w: Array, c: Array, h0: Array
) -> Array:
    def step(
        carry: Arrays, at: Arrays, following: Arrays, constants: Arrays
    ) -> tuple[Arrays, Arrays]:
        (h,), (gamma, b), (w, c) = carry, at, constants
        h_prev = _kept(gamma, h)
        gate, _ = _gate(w, c, h_prev)
        h = gamma * h_prev + b * gate
        return (h,), (h,)

    _, (h,) = scan_over_time(
        target, "gated_scan", step, (h0,), (gamma, b), constants=(w, c), outputs=1
    )
    return h


def _kernel_forward(target: KernelTarget, *inputs: Array) -> tuple[Array, Arrays]:
    h = _kernel_solve(target, *inputs)
    return h, (*scan.own(target, *inputs), h)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_backward(target: KernelTarget, residuals: Arrays, g: Array) -> Arrays:
    """`_gradients` in one pass."""
    gamma, b, w, c, h0, h = residuals

    def step(
        carry: Arrays, at: Arrays, following: Arrays, constants: Arrays
    ) -> tuple[Arrays, Arrays]:
        passed, d_w, d_c = carry  # J_{t+1} lambda_{t+1}; the sums over the tokens that follow
        (gamma, b, g), (before,), (w, c) = at, following, constants
        h_prev = _kept(gamma, before)
        gate, slope = _gate(w, c, h_prev)
        slope = b * slope
        adjoint = g + passed
        d_argument = adjoint * slope
        passed = jnp.where(gamma < 0, 0, (gamma + w * slope) * adjoint)
        d_w, d_c = d_w + d_argument * h_prev, d_c + d_argument
        return (passed, d_w, d_c), (adjoint * h_prev, adjoint * gate)

    zero = jnp.zeros_like(h0)
    (d_h0, d_w, d_c), (d_gamma, d_b) = scan_over_time(
        target,
        "gated_scan_gradient",
        step,
        (zero, zero, zero),
        (gamma, b, g),
        ((h, h0),),
        (w, c),
        outputs=2,
        reverse=True,
    )
    return d_gamma, d_b, jnp.sum(d_w, axis=0), jnp.sum(d_c, axis=0), d_h0


def _plain_backward(
    target: KernelTarget, residuals: Arrays, g: Array
) -> tuple[Arrays, Callable[[Arrays], Any]]:
    """A kernel has no derivative: what is to be differentiated again is computed without one."""

    def gradients(residuals: Arrays, g: Array) -> Arrays:
        gamma, b, w, c, h0, h = residuals
        keep = (gamma[..., 0] >= 0).astype(gamma.dtype)
        return _gradients("associative", gamma, b, w, c, h0, keep, h, g)

    return jax.vjp(gradients, residuals, g)


def _backward_of_backward(
    target: KernelTarget, pull: Callable[[Arrays], Any], cotangents: Arrays
) -> Any:
    return pull(cotangents)


_kernel_backward.defvjp(_plain_backward, _backward_of_backward)
_kernel_solve.defvjp(_kernel_forward, _kernel_backward)
