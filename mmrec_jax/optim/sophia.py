"""Sophia (arXiv 2305.14342): momentum divided by an estimate of the curvature, clipped.

    m_t = b1 m_{t-1} + (1 - b1) g_t
    h_t = b2 h_{t-1} + (1 - b2) hessian     in steps that bring an estimate; else h_{t-1}
    params = params - lr (clip(m_t / max(gamma h_t, eps), 1) + weight_decay params)

This is Algorithm 3 of the paper: `h` is refreshed before it is used, the first step included, and
neither average is corrected for its start at 0. Where h is not (yet) positive, the divisor is eps
and the coordinate moves by the sign of its momentum.

An estimate with a number that is not finite is skipped: h stays as it is, and the state counts it.
Where estimates come from is not this file's business: see `optim/hessian.py`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmrec_jax.tree import path_name
from mmrec_jax.typing import Array


class ScaleBySophiaState(NamedTuple):
    """Two averages like the parameters, float32 at least, and scalars of the last step, float32.

    The fractions are of all coordinates; `unclipped` is healthy between 0.1 and 0.5.
    """

    count: Array  # type: ignore[assignment]  # int32: updates done
    m: Any  # average gradient
    h: Any  # average curvature
    unclipped: Array  # fraction whose step is not cut off
    update_rms: Array  # root mean square of the clipped steps, before the learning rate
    h_norm: Array  # Euclidean norm of h
    h_nonpositive: Array  # fraction with h <= 0
    skipped: Array  # int32: estimates that were not finite


def scale_by_sophia(
    b1: float = 0.965,
    b2: float = 0.99,
    gamma: float = 0.05,
    eps: float = 1e-12,
    clip_threshold: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Rescales gradients by Sophia's rule; neither learning rate nor weight decay.

    `update(gradients, state, params, *, hessian=None)` takes the estimate of the curvature, a tree
    like the parameters, in the steps that have one: every k-th, beginning with the first. It may
    be whole where the gradients are masked (`optax.masked`, `optax.multi_transform`). Inside
    `optax.MultiSteps` give it with the last micro-step: that wrapper drops those of the others
    without a word. Parameters are real.

    Args:
      b1: decay of the gradient's average.
      b2: decay of the curvature's average, a refresh.
      gamma: factor of the curvature in the divisor; larger clips fewer coordinates.
      eps: the least divisor.
      clip_threshold: the largest step of a coordinate, before the learning rate.

    Raises:
      ValueError: in `update`, naming the leaf of `hessian` that is not of its parameter's shape.
    """

    def init(params: Any) -> ScaleBySophiaState:
        count, zero = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32)
        m, h = jax.tree.map(_zeros, params), jax.tree.map(_zeros, params)
        return ScaleBySophiaState(count, m, h, zero, zero, zero, zero, skipped=count)

    def update(
        gradients: Any,
        state: ScaleBySophiaState,
        params: Any = None,
        *,
        hessian: Any = None,
        **extra: Any,
    ) -> tuple[Any, ScaleBySophiaState]:
        m = jax.tree.map(lambda m, g: _average(m, g, b1), state.m, gradients)
        if hessian is not None:
            state = refreshed(state, hessian, b2)
        ratio = jax.tree.map(lambda m, h: m / jnp.maximum(gamma * h, eps), m, state.h)
        steps = jax.tree.map(lambda r: jnp.clip(r, -clip_threshold, clip_threshold), ratio)
        state = state._replace(
            count=optax.safe_increment(state.count),
            m=m,
            unclipped=_mean(lambda r: jnp.abs(r) < clip_threshold, ratio),
            update_rms=jnp.sqrt(_mean(jnp.square, steps)),
        )
        return jax.tree.map(lambda s, g: s.astype(g.dtype), steps, gradients), state

    return optax.GradientTransformationExtraArgs(init, update)


def sophia(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.965,
    b2: float = 0.99,
    gamma: float = 0.05,
    eps: float = 1e-12,
    weight_decay: float = 0.1,
    clip_threshold: float = 1.0,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Sophia with decoupled weight decay: see the formulas above.

    `learning_rate` scales the decay too and needs a warm-up; `gamma` is 0.05 for
    Gauss-Newton-Bartlett, 0.01 for Hutchinson; `mask` says which parameters decay, a tree of bools
    or a function of the parameters, None: all. The others are those of `scale_by_sophia`.
    """
    return optax.chain(
        scale_by_sophia(b1, b2, gamma, eps, clip_threshold),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def refreshed(opt_state: Any, hessian: Any, b2: float) -> Any:
    """An optimizer's state whose Sophias have taken in an estimate of the curvature.

    An update after it is the one with `hessian=`. Where `h` is kept in fewer bits than float32, the
    average is formed in float32 and rounded.
    """

    def refresh(state: Any) -> Any:
        if not _is_sophia(state):
            return state
        new = _estimate_of(state.h, hessian)
        finite = _mean(lambda x: ~jnp.isfinite(x), new) == 0
        h = jax.tree.map(lambda h, x: h.astype(x.dtype), state.h, new)
        h = jax.tree.map(lambda h, x: jnp.where(finite, _average(h, x, b2), h), h, new)
        return state._replace(
            h=jax.tree.map(lambda new, h: new.astype(h.dtype), h, state.h),
            # Here alone: a sum over all numbers costs a sixth of the update.
            h_norm=jnp.asarray(optax.tree.norm(h), jnp.float32),
            # As `h <= 0`, for which XLA keeps zeros of every shape that it sums gradients from.
            h_nonpositive=_mean(lambda h: jnp.sign(h) < 1, h),
            skipped=state.skipped + ~finite,
        )

    return jax.tree.map(refresh, opt_state, is_leaf=_is_sophia)


def sophia_metrics(opt_state: Any) -> dict[str, Array]:
    """The scalars of the Sophias inside an optimizer's state.

    Names begin with `sophia_`; where there are several, with `sophia_0_`, `sophia_1_` and so on, in
    the order of the state's tree.
    """
    found = list(filter(_is_sophia, jax.tree.leaves(opt_state, is_leaf=_is_sophia)))
    names = ("unclipped", "update_rms", "h_norm", "h_nonpositive", "skipped")
    return {
        ("sophia_" if len(found) == 1 else f"sophia_{i}_") + name: getattr(state, name)
        for i, state in enumerate(found)
        for name in names
    }


def _is_sophia(x: Any) -> bool:
    return isinstance(x, ScaleBySophiaState)


def _zeros(x: Array) -> Array:
    """In the sharding of x, also on a mesh of explicit axes."""
    return jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32))


def _average(mean: Array, new: Array, decay: float) -> Array:
    # The last cast: an injected hyperparameter is an array, whose dtype would win.
    return (decay * mean + (1 - decay) * new.astype(mean.dtype)).astype(mean.dtype)


def _estimate_of(h: Any, hessian: Any) -> Any:
    """`hessian` in the dtypes of `h`, float32 at least, without what is masked in `h`.

    `optax.masked` hands extra arguments on whole.
    """

    def is_masked(x: Any) -> bool:
        return isinstance(x, optax.MaskedNode)

    def leaf(path: tuple[Any, ...], h: Any, new: Any) -> Any:
        if is_masked(h):
            return h
        if jnp.shape(new) != h.shape:  # it could be broadcast
            name = path_name(path) or "the parameter"
            raise ValueError(f"hessian of {name} is {jnp.shape(new)}, the parameter {h.shape}")
        return jnp.asarray(new, jnp.promote_types(h.dtype, jnp.float32))

    return jax.tree_util.tree_map_with_path(leaf, h, hessian, is_leaf=is_masked)


def _mean(function: Any, tree: Any) -> Array:
    """The mean of `function` over all numbers of `tree`, float32; 0 where there are none."""
    leaves = jax.tree.leaves(tree)
    sums = [jnp.sum(function(x), dtype=jnp.float32) for x in leaves]
    return sum(sums, start=jnp.zeros((), jnp.float32)) / max(sum(x.size for x in leaves), 1)
