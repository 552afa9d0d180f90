"""Adapters inside the forward pass, without forming A B or W'.

    y = x W c + (x A) (s B c),                                c = m / norm(W + s A B), 1 in LoRA
    y = x W + (c - 1) d(x) W + (d(x) A) (s B c)               with dropout d

With dropout the adapted weight is W plus a change, and the change, (c - 1) W included, sees the
dropped input (as peft has it); at rate 0 both lines are the same.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.dora.adapter import (
    Adapter,
    Node,
    Rows,
    map_nodes,
    nodes,
    require_fit,
    with_whole,
)
from mmrec_jax.dora.kernel import column_squares, factored_norm, magnitude_ratio, wide
from mmrec_jax.dora.transform import with_rows
from mmrec_jax.errors import UserError
from mmrec_jax.tree import map_named, named_leaves
from mmrec_jax.typing import Array

_COLLECTION = "adapters"  # of `Adapter`s whose m is c; under a lifted scan, those of one layer


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

    Adapters must belong to `nn.Dense` modules. Layers that are scanned over must hand every
    collection on (`variable_axes={True: 0}`).

    Args:
      params: the base.
      adapters: what `init` made for it.
      squares: `dora.squares(params, adapters)`, to compute it once and not in every call.
      dropout: rate on the adapters' input; an rng named "dropout" is needed where it is not 0.
      detach_norm: the norm is a constant to gradients; False differentiates it too.

    Yields:
      The variables to apply the model to.

    Raises:
      UserError: the adapters do not fit the base, or an adapted kernel belongs to a module of
        another kind.
    """
    require_fit(params, adapters)
    leaves, found = named_leaves(params), nodes(adapters)
    known = {} if squares is None else named_leaves(squares)

    def change(name: str, node: Node) -> Adapter | None:
        if not isinstance(node, Adapter):
            return None
        if node.m is None:
            return node
        w = leaves[name]
        own = known[name] if name in known else column_squares(w)
        norm = factored_norm(w, node.a, node.b, node.scale, own)
        norm = jax.lax.stop_gradient(norm) if detach_norm else norm
        return dataclasses.replace(node, m=magnitude_ratio(node.m, norm))

    def embedding(name: str, leaf: Array) -> Array:
        node = found.get(name)
        return with_rows(leaf, node) if isinstance(node, Rows) else leaf

    variables = {
        "params": map_named(embedding, with_whole(params, adapters)),
        _COLLECTION: map_nodes(change, adapters),
    }

    def interceptor(
        call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        if context.method_name != "__call__" or not module.has_variable(_COLLECTION, "kernel"):
            return call(*args, **kwargs)
        if not isinstance(module, nn.Dense):
            raise UserError(
                f"{'/'.join(module.path)}: adapters of a {type(module).__name__} cannot be "
                "intercepted; use dora.apply (config.adapters.path=apply)"
            )
        (inputs,) = (*args, *kwargs.values())
        return _adapted(module, inputs, dropout)

    with nn.intercept_methods(interceptor):
        yield variables


def _adapted(module: nn.Dense, inputs: Array, dropout: float) -> Array:
    """What the module returns, with its adapter."""
    change: Adapter = module.get_variable(_COLLECTION, "kernel")
    w: Array = module.get_variable("params", "kernel")
    bias = module.get_variable("params", "bias") if module.use_bias else None
    x, w, bias = nn.dtypes.promote_dtype(inputs, w, bias, dtype=module.dtype)
    per_feature = (1,) * (x.ndim - 1) + (-1,)
    y = x @ w
    dropped = _drop(module, x, dropout)
    if change.m is None:
        y = y + _low_rank(_low_rank(dropped, change.a), change.scale * change.b)
    else:
        low = _low_rank(_low_rank(dropped, change.a), change.scale * change.b * change.m)
        y = _rescaled(y, dropped @ w if dropout else None, low, change.m.reshape(per_feature))
    return y if bias is None else y + bias.reshape(per_feature)


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
