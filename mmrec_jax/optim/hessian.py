"""Unbiased estimates of the diagonal of the loss's curvature, for `optim/sophia.py`.

The loss is the weighted mean over tokens, sum_i w_i l_i / sum_i w_i. The batch is a dict (or any
tree) of arrays with the rows on axis 0; `batch["weights"] [B, T]` holds the w_i, 0 at padding.

Both estimators are exact under gradient accumulation and sharding: what is summed over the batch
is linear, its square is taken once, and random numbers belong to rows or parameters, so the same
key gives the same estimate however the batch is cut. Second derivatives are taken in reverse over
reverse, since forward over reverse fails in custom rules that call each other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from mmrec_jax.models.api import Output
from mmrec_jax.models.logits import by_chunks, counted_alone
from mmrec_jax.typing import Array

Batch = Any
Tree = Any


def gnb(
    key: Array,
    logits_fn: Callable[[Tree, Batch], Array | Output],
    params: Tree,
    batch: Batch,
    *,
    accumulate: int = 1,
    chunk: int | None = None,
) -> Tree:
    """Gauss-Newton-Bartlett: an estimate of the Gauss-Newton diagonal from one gradient.

    The labels y_i are drawn from the model's own distribution at every token: with the true ones it
    would be the empirical Fisher, which is another matrix (15 times larger in the tests' example).
    With g the gradient of `sum_i sqrt(w_i) CE(logits_i, y_i) / sum_i w_i` the estimate is
    `(sum_i w_i) g^2`; where all weights are 1 that is the paper's `B g^2` with B tokens.

    Args:
      key: of the labels; token t of row i draws with `fold_in(fold_in(key, i), t)`.
      logits_fn: `(params, batch) -> logits [B, T, V]`, without dropout or other noise; or a model's
        `Output`, whose logits are made by chunks.
      params: where to estimate.
      batch: see the module.
      accumulate: micro-batches to take the gradient in; a divisor of the rows.
      chunk: see `models.logits.by_chunks`; the labels do not depend on it.

    Returns:
      A tree like `params`, float32 at least, nowhere negative.
    """
    total = _total_weight(batch)

    def gradient(micro: Batch, keys: Array) -> Tree:
        weights = micro["weights"]
        of_row = jax.vmap(jax.random.fold_in, (None, 0))
        of_tokens = jax.vmap(of_row, (0, None))(keys, jnp.arange(weights.shape[1]))

        def loss(params: Tree) -> Array:
            found = logits_fn(params, micro)
            if not isinstance(found, Output):
                found = Output(found, Partial(jnp.asarray), None, {}, {})
            output = counted_alone(found, weights > 0)
            return by_chunks(_sampled_nll, output, of_tokens, weights, chunk=chunk)[0] / total

        return jax.grad(loss)(params)

    rows = batch["weights"].shape[0]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(rows))
    g = _sum_over_micro_batches(gradient, (batch, keys), accumulate)
    return jax.tree.map(lambda x: total.astype(x.dtype) * jnp.square(x), g)


def _sampled_nll(logits: Array, keys: Array, weights: Array) -> tuple[Array, None]:
    logits = _widened(logits)
    draw = jax.vmap(jax.vmap(jax.random.categorical))
    labels = draw(keys, jax.lax.stop_gradient(logits))
    drawn = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    nats = jax.nn.logsumexp(logits, axis=-1) - drawn
    return jnp.sum(jnp.where(weights > 0, jnp.sqrt(weights) * nats, 0)), None


def hutchinson(
    key: Array,
    loss_fn: Callable[[Tree, Batch], Array],
    params: Tree,
    batch: Batch,
    *,
    accumulate: int = 1,
) -> Tree:
    """Hutchinson: `u * (Hessian u)` with random signs u, an estimate of the Hessian's diagonal.

    `loss_fn`, `(params, batch) -> loss`, is the weighted mean over the batch it is given, without
    dropout, other noise or auxiliary terms; the rest as for `gnb`. It is exact where the Hessian is
    diagonal.
    """
    total = _total_weight(batch)
    signs = random_signs(key, params)

    def product(micro: Batch) -> Tree:
        share = jnp.sum(micro["weights"]) / total

        def along(params: Tree) -> Array:
            gradient = jax.grad(loss_fn)(params, micro)
            parts = jax.tree.map(lambda g, u: jnp.vdot(_widened(g), _widened(u)), gradient, signs)
            return share * jnp.sum(jnp.stack(jax.tree.leaves(parts)))

        return jax.grad(along)(params)

    products = _sum_over_micro_batches(product, (batch,), accumulate)
    return jax.tree.map(lambda u, x: u.astype(x.dtype) * x, signs, products)


def random_signs(key: Array, params: Tree) -> Tree:
    """A tree like `params` of -1 and 1; leaf i draws with `fold_in(key, i)`."""
    leaves, structure = jax.tree.flatten(params)
    keys = [jax.random.fold_in(key, i) for i in range(len(leaves))]
    signs = [jax.random.rademacher(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, signs)


def _total_weight(batch: Batch) -> Array:
    weight = jnp.sum(batch["weights"])
    return jnp.where(weight > 0, weight, 1)  # a batch in which nothing counts has no curvature


def _sum_over_micro_batches(
    function: Callable[..., Tree], inputs: tuple[Any, ...], count: int
) -> Tree:
    """The sum of `function(*micro-batch)` over `count` of them, float32 at least.

    Rows are dealt, not cut into blocks: each device keeps the rows that it already holds.
    """

    def one(*micro: Any) -> Tree:
        return jax.tree.map(_widened, function(*micro))

    if count == 1:
        return one(*inputs)
    micros = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1), inputs
    )
    zeros = optax.tree.zeros_like(jax.eval_shape(one, *jax.tree.map(lambda x: x[0], micros)))

    def add(total: Tree, micro: tuple[Any, ...]) -> tuple[Tree, None]:
        return optax.tree.add(total, one(*micro)), None

    return jax.lax.scan(add, zeros, micros)[0]


def _widened(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
