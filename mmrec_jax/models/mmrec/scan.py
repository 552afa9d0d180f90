"""The linear recurrence `h_t = a_t h_{t-1} + b_t`, solved over time: one front door, `linear_scan`.

All backends share one gradient rule, because the adjoint of a linear recurrence is the same
recurrence run backwards (spec: lambda_t = g_t + a_{t+1} lambda_{t+1}). The rule's own forward and
backward passes are written with the differentiated solver, so it can be differentiated again
(Hessian-vector products, reverse over reverse).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models import sequence
from mmrec_jax.models.mmrec.kernels import KernelTarget, kernel_target
from mmrec_jax.models.mmrec.scan_backends import BACKENDS
from mmrec_jax.models.mmrec.scan_kernel import Arrays, scan_over_time, takes
from mmrec_jax.models.mmrec.scan_table import committed_table, fastest
from mmrec_jax.models.partition import device_kind
from mmrec_jax.typing import Array, Bool, Float, typed


def resolve_backend(backend: str, channels: int, length: int) -> str:
    """The backend to use for B*E `channels` and T `length`.

    "auto" is looked up in the committed measurements (`scan_table.py`) of the devices in use.
    """
    if backend == "auto":
        return fastest(committed_table(), device_kind(), channels, length)
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; use auto, {', '.join(BACKENDS)}")
    return backend


def find_kernel(backend: str, dtype: jnp.dtype, shape: tuple[int, ...]) -> KernelTarget | None:
    """The kernel for an accumulation in `dtype` of arrays [B, T, E]; None: solve without.

    "auto" leaves single tokens to plain JAX; "kernel" insists on one.
    """
    target = kernel_target(dtype, shape[0])
    found = target is not None and takes(target, shape)
    if backend == "kernel" and not found:
        raise ValueError(f"there is no kernel for {dtype} {shape} here: use auto")
    return target if found and (backend == "kernel" or shape[1] > 1) else None


def accumulation_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """float32 for anything narrower, else `dtype` (float64 stays float64)."""
    return jnp.promote_types(dtype, jnp.float32)


@typed
def linear_scan(
    a: Float[Array, "B T E"],
    b: Float[Array, "B T E"],
    h0: Float[Array, "B E"] | None = None,
    *,
    reset: Bool[Array, "B T"] | None = None,
    reverse: bool = False,
    backend: str = "auto",
) -> tuple[Float[Array, "B T E"], Float[Array, "B E"]]:
    """Solves `h_t = a_t h_{t-1} + b_t` for every t.

    Args:
      a: decay of the carried state.
      b: input.
      h0: state before the first token; zero when None. Where devices share a row
        (`models/sequence.py`) a and b are of this device's tokens, h0 is before those of the first.
      reset: True where a document begins: the carried state (h0 included) counts as zero there.
        With `reverse=True` it cuts in scan order: the state coming from t + 1 is dropped at t.
      reverse: run from the last token to the first (`h_t = a_t h_{t+1} + b_t`).
      backend: "sequential", "associative" or "chunked" (`scan_backends.py`), or "kernel", where
        `kernels.py` says that there is one; "auto" is the kernel there, elsewhere the one that was
        measured to be the fastest near this B*E and T on this kind of device.

    Returns:
      `h` in the dtype of `b`, and the last state in scan order, at least float32. Accumulation
      is in float32 at least, whatever the inputs are.
    """
    dtype = accumulation_dtype(jnp.result_type(a, b))
    wide_a = a.astype(dtype)
    if reset is not None:
        wide_a = jnp.where(reset[..., None], 0, wide_a)
    if h0 is None:
        h0 = jnp.zeros(b[:, 0].shape, dtype)
    solver: str | KernelTarget | None = None
    if backend in ("auto", "kernel"):
        solver = find_kernel(backend, dtype, b.shape)
    if solver is None:
        solver = resolve_backend(backend, b.shape[0] * b.shape[2], b.shape[1])
    h, h_last = _solve(wide_a, b.astype(dtype), h0.astype(dtype), reverse, solver)
    return h.astype(b.dtype), h_last


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _solve(
    a: Array, b: Array, h0: Array, reverse: bool, solver: str | KernelTarget
) -> tuple[Array, Array]:
    solve = partial(_solve_own, a, b, reverse=reverse, solver=solver)
    if sequence.parts() > 1:
        _, end = solve(jnp.zeros_like(h0))
        h0, _ = sequence.states_between(jnp.prod(a, axis=1), end, h0, reverse=reverse)
    h, h_last = solve(h0)
    return h, sequence.last_of(h_last, reverse)


def _solve_own(
    a: Array, b: Array, h0: Array, *, reverse: bool, solver: str | KernelTarget
) -> tuple[Array, Array]:
    """Of this device's tokens; h0 is the state before them."""
    if isinstance(solver, KernelTarget):
        how: dict[str, Any] = {"outputs": 1, "reverse": reverse}
        (h_last,), (h,) = scan_over_time(solver, "linear_scan", _step, (h0,), (a, b), **how)
        return h, h_last
    h = BACKENDS[solver](a, b, h0, reverse)
    return h, h[:, 0 if reverse else -1]


def _step(carry: Arrays, at: Arrays, following: Arrays, constants: Arrays) -> tuple[Arrays, Arrays]:
    """Of the kernel."""
    (h,), (a, b) = carry, at
    h = a * h + b
    return (h,), (h,)


def _solve_forward(
    a: Array, b: Array, h0: Array, reverse: bool, solver: str | KernelTarget
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    h, h_last = _solve(a, b, h0, reverse, solver)
    a, h0 = own(solver, a, h0)
    return (h, h_last), (a, h0, h)


def _solve_backward(
    reverse: bool,
    solver: str | KernelTarget,
    residuals: tuple[Array, Array, Array],
    cotangents: tuple[Array, Array],
) -> tuple[Array, Array, Array]:
    a, h0, h = residuals
    g, g_last = cotangents
    # A decay of 1 before the reversed scan adds the cotangent of the last state to that of h there,
    # without a copy of g.
    decay = sequence.shift(a, jnp.ones_like(h0), not reverse)
    adjoint, first = _solve(decay, g, sequence.total(g_last), not reverse, solver)
    to_h0 = sequence.at_begin(a[:, -1 if reverse else 0] * first, reverse)
    return adjoint * sequence.shift(h, h0, reverse), adjoint, to_h0


_solve.defvjp(_solve_forward, _solve_backward)


def own(solver: str | KernelTarget, *inputs: Array) -> tuple[Array, ...]:
    """The inputs of a rule, as residuals that JAX does not know to be its inputs.

    JAX (0.10) looks such a residual up among the inputs by its index, which is wrong once the
    solver holds constants, the rule stands in a scan, and it is differentiated twice. The
    sequential solver holds none.
    """
    return inputs if solver == "sequential" else jax.lax.optimization_barrier(inputs)
