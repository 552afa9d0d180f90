"""Functions of logits, chunk by chunk over time: the whole [B, T, V] is never in memory.

With a large vocabulary logits are the largest arrays of a step, and so is their gradient. Here the
gradient is taken in the forward pass: the logits of a chunk are made once, give the value and the
gradients of its hidden states and of the head, and are dropped. What is kept for the backward pass
is as large as hidden states and head, and only has to be multiplied by the scalar's gradient.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal

from mmrec_jax.models.api import Output
from mmrec_jax.models.partition import device_kind, row_parts
from mmrec_jax.typing import Array, Bool

# Of logits that a device has at once where nothing else is said: what fits is not cut. With few
# chunks an accelerator seldom adds to the head's gradient, which is as large as they are.
_BYTES = {"cpu": 2**26, "gpu": 2**28, "tpu": 2**28}

# (logits [B, C, V], *rows [B, C, ...]) -> (a scalar, a tree of arrays [B, C, ...])
Function = Callable[..., tuple[Array, Any]]


def by_chunks(
    function: Function, output: Output, *rows: Array, chunk: int | None = None
) -> tuple[Array, Any]:
    """What `function` makes of the logits of an output and of `rows` [B, T, ...] beside them.

    It is called with `chunk` tokens of each row at a time (the last time with fewer), None: with
    all if their logits take 64 MiB on a CPU or 256 MiB on an accelerator, else with as many as do.
    Reverse mode alone differentiates it, to any order, with respect to the output's hidden states
    and head.

    Args:
      function: see `Function`; each token for itself, and without arrays of its own that are
        differentiated.
      output: of a model.
      rows: what belongs to each token.
      chunk: tokens of a row.

    Returns:
      The sum of the scalars; and the arrays, [B, T, ...], which are constants to gradients.
    """
    chunk = chunk or _fitting(output)
    if chunk >= output.hidden.shape[1]:
        total, values = function(output.logits, *rows)
    else:
        total, values = _in_chunks(function, chunk, output.head, output.hidden, rows)
    return total, jax.lax.stop_gradient(values)


def counted_alone(output: Output, counted: Bool[Array, "B T"]) -> Output:
    """With hidden states 0 where a token does not count: NaN there spoils no gradient."""
    return output._replace(hidden=jnp.where(counted[..., None], output.hidden, 0))


def _fitting(output: Output) -> int:
    """Tokens of a row in chunks of nearly the same length, of at most `_BYTES` if possible."""
    length = output.hidden.shape[1]
    one = jax.eval_shape(output.head, output.hidden[:, :1])
    size = length * one.size * one.dtype.itemsize // row_parts()
    _, platform = device_kind()
    count = min(max(-(-size // _BYTES[platform]), 1), length)
    return -(-length // count)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_chunks(
    function: Function, chunk: int, head: Any, hidden: Array, rows: tuple[Array, ...]
) -> tuple[Array, Any]:
    def one(hidden: Array, rows: tuple[Array, ...]) -> tuple[Array, Any]:
        return function(head(hidden), *rows)

    return _over_time(one, (hidden, rows), chunk)


def _forward(
    function: Function, chunk: int, head: Any, hidden: Any, rows: Any
) -> tuple[tuple[Array, Any], tuple[Any, Array]]:
    """Arguments come as `CustomVJPPrimal`s, which say what is differentiated: not a frozen head."""
    marked: list[CustomVJPPrimal]
    structure: Any
    marked, structure = jax.tree.flatten(head, is_leaf=_is_primal)
    leaves = [leaf.value for leaf in marked]
    trained = {i: leaf.value for i, leaf in enumerate(marked) if leaf.perturbed}
    hidden, rows = jax.tree.map(lambda x: x.value, (hidden, rows), is_leaf=_is_primal)

    # Of second derivatives the backward pass makes the logits of each chunk again.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one(hidden: Array, rows: tuple[Array, ...]) -> Any:
        def value(trained: dict[int, Array], hidden: Array) -> tuple[Array, Any]:
            whole = structure.unflatten([trained.get(i, leaf) for i, leaf in enumerate(leaves)])
            return function(whole(hidden), *rows)

        total, pullback, values = jax.vjp(value, trained, hidden, has_aux=True)
        to_head, to_hidden = pullback(jnp.ones_like(total))
        # Summed over chunks in float32, as one product over all tokens would be.
        return (total, jax.tree.map(_widened, to_head)), (values, to_hidden)

    (total, sums), (values, to_hidden) = _over_time(one, (hidden, rows), chunk)
    to_head = [sums[i].astype(x.dtype) if i in sums else None for i, x in enumerate(leaves)]
    return (total, values), (structure.unflatten(to_head), to_hidden)


def _backward(
    function: Function, chunk: int, saved: tuple[Any, Array], cotangents: tuple[Array, Any]
) -> tuple[Any, Array, None]:
    scale = cotangents[0]
    to_head, to_hidden = jax.tree.map(lambda x: (scale * x).astype(x.dtype), saved)
    return to_head, to_hidden, None


_in_chunks.defvjp(_forward, _backward, symbolic_zeros=True)


def _over_time(
    function: Callable[..., tuple[Any, Any]], inputs: tuple[Any, ...], chunk: int
) -> tuple[Any, Any]:
    """Of chunks of axis 1 of the inputs: the sums of what it returns first, the others in a row."""
    rows, length = jax.tree.leaves(inputs)[0].shape[:2]
    count, end = length // chunk, length // chunk * chunk

    def split(x: Array) -> Array:
        return jnp.moveaxis(x[:, :end].reshape(rows, count, chunk, *x.shape[2:]), 1, 0)

    def join(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape(rows, end, *x.shape[3:])

    def add(sums: Any, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        more, values = function(*inputs)
        return jax.tree.map(jnp.add, sums, more), values

    chunks = jax.tree.map(split, inputs)
    shapes, _ = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], chunks))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, values = jax.lax.scan(add, zeros, chunks)
    values = jax.tree.map(join, values)
    if end < length:
        sums, rest = add(sums, jax.tree.map(lambda x: x[:, end:], inputs))
        values = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), values, rest)
    return sums, values


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _widened(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
