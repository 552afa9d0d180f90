"""One long row on several devices: what crosses between those of the mesh axis "sequence".

The training step takes its gradient device by device there (`by_device`). Each of the P devices has
T / P tokens of every row and a copy of everything else, so that what is done with a token alone
needs no other device. What looks at other tokens asks this module. Outside `by_device` there is one
part, and each function is the plain one.

Tokens are dealt: a model reads a row in blocks of P w tokens, and device d has the d-th w of each.
All devices then work on the same block, and only the state goes from block to block. With one long
part of the row on each device, a state that is nonlinear in itself would have to wait for the part
before it, or the arrays of a layer be kept for the whole part.

Gradients: the sum over devices of what each finds for its own copies is the gradient. A rule
written by hand therefore adds up the cotangents of a result that all have (`total`), and gives that
of a state that all have to the first device alone (`at_begin`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from mmrec_jax.typing import Array

SEQUENCE = "sequence"


def mesh_parts() -> int:
    """Devices that share each row, in the mesh in use (`jax.set_mesh`)."""
    return jax.sharding.get_abstract_mesh().shape.get(SEQUENCE, 1)


def parts() -> int:
    """P: the same inside `by_device`, and 1 outside."""
    return mesh_parts() if SEQUENCE in jax.sharding.get_abstract_mesh().manual_axes else 1


def by_device(function: Callable[..., Any], *in_specs: P) -> Callable[..., Any]:
    """`function` on each device of the axis with its part of the arguments; all return the same.

    Other axes of the mesh remain the compiler's.
    """
    return jax.shard_map(
        function, in_specs=in_specs, out_specs=P(), axis_names={SEQUENCE}, check_vma=False
    )


def own_key(key: Array) -> Array:
    """A key of each device."""
    return jax.random.fold_in(key, _index()) if parts() > 1 else key


def total(tree: Any) -> Any:
    """The sums over devices."""
    return jax.lax.psum(tree, SEQUENCE) if parts() > 1 else tree


def largest(x: Array) -> Array:
    """The elementwise maximum over devices; NaN where one has NaN."""
    return jnp.max(_gather(x), axis=0) if parts() > 1 else x


def order(length: int, parts: int, block: int) -> NDArray[np.int64]:
    """Where in the row the dealt tokens are: those of the first device, then of the second, ...

    `block` is w, of a device; the last block may be smaller.
    """
    own = np.arange(length // parts)
    begin = own // block * block
    width = np.minimum(block, length // parts - begin)
    return np.concatenate([parts * begin + d * width + own - begin for d in range(parts)])


def whole(x: Array, block: int) -> Array:
    """The row in its order [B, T, ...] from the parts [B, T / P, ...]."""
    dealt = jax.lax.all_gather(x, SEQUENCE, axis=1, tiled=True)
    return dealt[:, np.argsort(order(dealt.shape[1], parts(), block))]


def own(x: Array, block: int) -> Array:
    """This device's part [B, T / P, ...] of a row in its order [B, T, ...]."""
    size = x.shape[1] // parts()
    dealt = x[:, order(x.shape[1], parts(), block)]
    return jax.lax.dynamic_slice_in_dim(dealt, _index() * size, size, axis=1)


def shift(x: Array, first: Array | None, reverse: bool = False) -> Array:
    """`x_{t-1}` in scan order: `first [B, E]` (zero when None), then `x [B, T, E]` but its last."""
    edge = jnp.zeros_like(x[:, 0]) if first is None else first.astype(x.dtype)
    edge = before(x[:, 0 if reverse else -1], edge, reverse)[:, None]
    return jnp.concatenate([x[:, 1:], edge] if reverse else [edge, x[:, :-1]], axis=1)


def before(x: Array, first: Array, reverse: bool = False) -> Array:
    """What the device before this one in scan order has; `first` on the first."""
    if parts() == 1:
        return first
    step = -1 if reverse else 1
    pairs = [(d, d + step) for d in range(parts()) if 0 <= d + step < parts()]
    return jnp.where(_is_first(reverse), first, jax.lax.ppermute(x, SEQUENCE, pairs))


def last_of(end: Array, reverse: bool = False) -> Array:
    """The state after all tokens in scan order, of that after the tokens of each device."""
    return _gather(end)[0 if reverse else -1] if parts() > 1 else end


def at_begin(x: Array, reverse: bool = False) -> Array:
    """`x` on the first device in scan order, 0 on the others."""
    return jnp.where(_is_first(reverse), x, 0) if parts() > 1 else x


def states_between(
    product: Array,
    end: Array,
    state: Array,
    apply: Callable[[Array, Array], Array] = jnp.multiply,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """The states before this device's tokens and after those of the last device.

    Each device takes a state x to `apply(product, x) + end`; `state` is that before the first.
    """

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        return apply(at[0], state) + at[1], state

    after, begin = jax.lax.scan(step, state, (_gather(product), _gather(end)), reverse=reverse)
    return begin[_index()], after


def by_turns(solve: Callable[[Array], Array], state: Array) -> Array:
    """The states `h [B, T, E]` that `solve` finds from the one before them, `state [B, E]`.

    The device before has the right one after as many turns as there are devices before it.
    """

    def turn(_: Array, begin: Array) -> Array:
        return before(solve(begin)[:, -1], state)

    return solve(jax.lax.fori_loop(0, parts() - 1, turn, state) if parts() > 1 else state)


def _index() -> Array:
    return jax.lax.axis_index(SEQUENCE)


def _is_first(reverse: bool) -> Array:
    return _index() == (parts() - 1 if reverse else 0)


def _gather(x: Array) -> Array:
    """[P, ...]: of every device, in their order."""
    return jax.lax.all_gather(x, SEQUENCE)
