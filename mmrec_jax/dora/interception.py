"""Adapters inside the forward pass, without forming A B or W', on a base that may be quantised.

    y = x W c + (x A) (s B c),                                c = m / norm(W + s A B), 1 in LoRA
    y = x W + (c - 1) d(x) W + (d(x) A) (s B c)               with dropout d

With dropout the adapted weight is W plus a change, and the change, (c - 1) W included, sees the
dropped input (as peft has it); at rate 0 both lines are the same.

All of it, c too, is computed inside the layer: of layers that are scanned over, one alone is
dequantised at a time, and nothing of the size of all kernels is ever made.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.dora import transform
from mmrec_jax.dora.adapter import Adapter, Rows, map_nodes, nodes, require_fit, with_whole
from mmrec_jax.dora.kernel import factored_norm, magnitude_ratio, wide
from mmrec_jax.errors import UserError
from mmrec_jax.quantised import Quantised, dequantise, product, rows
from mmrec_jax.tree import map_named
from mmrec_jax.typing import Array

# Collections of `Adapter`s and of |W|^2; under a lifted scan they are those of one layer.
_ADAPTERS, _SQUARES = "adapters", "squares"


@contextlib.contextmanager
def intercept(
    params: Any,
    adapters: Any,
    *,
    squares: Any = None,
    dropout: float = 0.0,
    detach_norm: bool = True,
) -> Iterator[dict[str, Any]]:
    """Within it, `model.apply(variables, ...)` is the adapted model.

    Adapters and quantised kernels must belong to `nn.Dense` modules. Layers that are scanned over
    must hand every collection on (`variable_axes={True: 0}`).

    Args:
      params: the base.
      adapters: what `init` made for it.
      squares: `dora.squares(params, adapters)`, to compute it once and not in every call.
      dropout: rate on the adapters' input; an rng named "dropout" is needed where it is not 0.
      detach_norm: the norm is a constant to gradients; False differentiates it too.

    Yields:
      The variables to apply the model to.

    Raises:
      UserError: the adapters do not fit the base, or an adapted or quantised kernel belongs to a
        module of another kind.
    """
    require_fit(params, adapters)
    found = nodes(adapters)

    def embedding(name: str, leaf: Array) -> Array:
        node = found.get(name)
        return transform.with_rows(leaf, node) if isinstance(node, Rows) else leaf

    variables = {
        "params": map_named(embedding, with_whole(params, adapters)),
        _ADAPTERS: map_nodes(lambda _, node: node if isinstance(node, Adapter) else None, adapters),
        _SQUARES: transform.squares(params, adapters) if squares is None else squares,
    }

    def interceptor(
        call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        if context.method_name == "__call__" and _is_quantised_embedding(module):
            (ids,) = (*args, *kwargs.values())
            return rows(module.embedding, ids, module.dtype)
        if context.method_name != "__call__" or not _is_changed(module):
            return call(*args, **kwargs)
        if not isinstance(module, nn.Dense):
            raise UserError(
                f"{'/'.join(module.path)}: adapters of a {type(module).__name__} cannot be "
                "intercepted; leave it out of the pattern, or use dora.apply"
            )
        (inputs,) = (*args, *kwargs.values())
        return _adapted(module, inputs, dropout, detach_norm)

    with nn.intercept_methods(interceptor):
        yield variables


def _is_quantised_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embed) and isinstance(module.embedding, Quantised)


def _is_changed(module: nn.Module) -> bool:
    kernel: Array | Quantised | None = module.get_variable("params", "kernel")
    return isinstance(kernel, Quantised) or module.has_variable(_ADAPTERS, "kernel")


def _adapted(module: nn.Dense, inputs: Array, dropout: float, detach_norm: bool) -> Array:
    """What the module returns, with its adapter if it has one."""
    w: Array | Quantised = module.get_variable("params", "kernel")
    x = inputs.astype(module.dtype or jnp.result_type(inputs.dtype, w.dtype))
    per_feature = (1,) * (x.ndim - 1) + (-1,)
    y = product(x, w)
    node: Adapter | None = module.get_variable(_ADAPTERS, "kernel")
    if node is not None:
        dropped = _drop(module, x, dropout)
        if node.m is None:
            y = y + _low_rank(_low_rank(dropped, node.a), node.scale * node.b)
        else:
            squares: Array = module.get_variable(_SQUARES, "kernel")
            c = magnitude_ratio(node.m, _norm(w, node, squares, x.dtype, detach_norm))
            low = _low_rank(_low_rank(dropped, node.a), node.scale * node.b * c)
            y = _rescaled(y, product(dropped, w) if dropout else None, low, c.reshape(per_feature))
    if not module.use_bias:
        return y
    return y + module.get_variable("params", "bias").astype(x.dtype).reshape(per_feature)


def _norm(w: Array | Quantised, node: Adapter, squares: Array, dtype: Any, detach: bool) -> Array:
    """Of each column of W + s A B; of a quantised W in the dtype that it is multiplied in."""

    @jax.checkpoint  # what is dequantised does not wait for the backward pass
    def norm(a: Array, b: Array) -> Array:
        matrix = dequantise(w, dtype) if isinstance(w, Quantised) else w
        return factored_norm(matrix, a, b, node.scale, squares)

    return norm(*(jax.lax.stop_gradient((node.a, node.b)) if detach else (node.a, node.b)))


@jax.custom_vjp
def _low_rank(x: Array, factor: Array) -> Array:
    """`x @ factor` in the dtype of x; the gradient of the factor in that of the factor."""
    return x @ factor.astype(x.dtype)


def _low_rank_forward(x: Array, factor: Array) -> tuple[Array, tuple[Array, Array]]:
    return _low_rank(x, factor), (x, factor)


def _low_rank_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, factor = saved
    to_factor = jnp.einsum("...i,...o->io", x, g, preferred_element_type=factor.dtype)
    return g @ factor.astype(g.dtype).T, to_factor


_low_rank.defvjp(_low_rank_forward, _low_rank_backward)


@jax.checkpoint  # the backward pass keeps what goes in, not the products in float32
def _rescaled(y: Array, dropped: Array | None, low: Array, c: Array) -> Array:
    """In float32 at least, so that c is not rounded and its gradient not summed in bfloat16."""
    dtype = wide(y.dtype)
    if dropped is None:
        total = y.astype(dtype) * c
    else:
        total = y.astype(dtype) + dropped.astype(dtype) * (c - 1)
    return (total + low.astype(dtype)).astype(y.dtype)


def _drop(module: nn.Module, x: Array, rate: float) -> Array:
    if not rate:
        return x
    kept = jax.random.bernoulli(module.make_rng("dropout"), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)
