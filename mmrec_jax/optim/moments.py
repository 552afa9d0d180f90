"""What an optimizer remembers, in a dtype of its own, whatever the parameters are in."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmrec_jax.typing import Array


def with_moments_in(
    inner: optax.GradientTransformation, dtype: Any
) -> optax.GradientTransformationExtraArgs:
    """`inner` computed in float32 at least, with its moments kept in `dtype`.

    Rounded to the nearest number after each update; of bfloat16 a decay up to 0.99 is well resolved
    (a change below 1/512 of a moment is lost). Scalars of the state stay as they are. With float32
    moments are float32 at least, so that bfloat16 parameters have them too.
    """
    kept = jnp.dtype(dtype)
    inner = optax.with_extra_args_support(inner)

    def wide(x: Array) -> Array:
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if _is_float(x) else x

    def stored(x: Array) -> Array:
        narrow = jnp.promote_types(kept, x.dtype) if kept == jnp.float32 else kept
        return x.astype(narrow) if _is_float(x) and x.ndim else x

    def init(params: Any) -> Any:
        return jax.tree.map(stored, inner.init(jax.tree.map(wide, params)))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        wider = jax.tree.map(wide, updates), jax.tree.map(wide, state)
        updates, state = inner.update(*wider, params, **extra)
        return updates, jax.tree.map(stored, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _is_float(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)
