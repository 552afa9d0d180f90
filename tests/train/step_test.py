import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.train.state import TrainState, initial_state
from mmrec_jax.train.step import make_eval_step, make_train_step
from tests.small_run import small_model

# Remembers the gradient it is given and moves nothing: no rounding stands between it and a test.
_RECORDER = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda gradient, _, params: (jax.tree.map(jnp.zeros_like, params), gradient),
)
_STILL = optax.sgd(0.0)
# Real tokens of the 8 rows: very uneven, so that a mean of means would be far off.
_LENGTHS = [12, 1, 2, 12, 3, 12, 1, 7]


def _batch(rng, lengths=tuple(_LENGTHS), width=12, vocab=50):
    """Rows of two packed documents each, then padding; some tokens do not count in the loss."""
    shape = (len(lengths), width)
    real = np.arange(width) < np.asarray(lengths)[:, None]
    second = np.arange(width) >= np.asarray(lengths)[:, None] // 2
    weights = rng.choice([0.0, 0.25, 1.0, 3.0], shape) * real
    return {
        "inputs": jnp.asarray(np.where(real, rng.integers(0, vocab, shape), 0), jnp.int32),
        "targets": jnp.asarray(np.where(real, rng.integers(0, vocab, shape), 0), jnp.int32),
        "segment_ids": jnp.asarray(np.where(real, 1 + second, 0), jnp.int32),
        "weights": jnp.asarray(weights, jnp.float32),
    }


@functools.cache
def _state(model, optimizer=_RECORDER):
    """A start with every parameter moved off its special initial value."""

    def start():
        state = initial_state(model, optimizer, seed=0)
        leaves, tree = jax.tree.flatten(state.params)
        keys = jax.random.split(jax.random.key(9), len(leaves))
        pairs = zip(leaves, keys, strict=True)
        moved = [x + 0.1 * jax.random.normal(key, x.shape, x.dtype) for x, key in pairs]
        return state.replace(params=jax.tree.unflatten(tree, moved))

    return jax.jit(start)()


@functools.cache
def _step(model, optimizer, accumulate=1):
    return jax.jit(make_train_step(model, optimizer, accumulate))


def _gradient(model, state, batch, accumulate=1):
    after, metrics = _step(model, _RECORDER, accumulate)(state, batch)
    return after.opt_state, metrics


def _assert_close(actual, expected, rtol):
    """Each leaf to a fraction of its largest entry."""
    paths = jax.tree_util.tree_leaves_with_path(expected)
    for (path, e), a in zip(paths, jax.tree.leaves(actual), strict=True):
        scale = float(jnp.max(jnp.abs(e)))
        np.testing.assert_allclose(a, e, rtol=0, atol=rtol * scale, err_msg=str(path))


_VARIANTS = {
    "plain": {},
    "uboo": {"use_uboo": True, "lambda_p": 0.5},
    "uboo orthogonal": {"use_uboo": True, "lambda_p": 0.5, "uboo_orthogonal": True},
}


@pytest.mark.parametrize("switches", _VARIANTS.values(), ids=_VARIANTS)
def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(rng, switches):
    model = MMRecLM(small_model(gate="none", memory="none", **switches))
    state, batch = _state(model), _batch(rng)
    expected, whole = _gradient(model, state, batch)
    for accumulate in (4,) if switches else (2, 4):
        gradient, metrics = _gradient(model, state, batch, accumulate)
        _assert_close(gradient, expected, 1e-5)
        for name in ("loss", "grad_norm", "tokens", *(["uboo"] if switches else [])):
            np.testing.assert_allclose(metrics[name], whole[name], rtol=2e-6, err_msg=name)


def test_gradient_and_metrics_are_those_of_the_weighted_mean(rng):
    model = MMRecLM(small_model(gate="none", memory="none"))
    state, batch = _state(model), _batch(rng)

    def loss(params):
        logits, _, _ = model.apply({"params": params}, batch["inputs"], None, batch["segment_ids"])
        picked = jax.nn.log_softmax(logits)[
            np.arange(8)[:, None], np.arange(12)[None], batch["targets"]
        ]
        return -jnp.sum(picked * batch["weights"]) / np.sum(np.asarray(batch["weights"]))

    value, expected = jax.jit(jax.value_and_grad(loss))(state.params)
    gradient, metrics = _gradient(model, state, batch)
    _assert_close(gradient, expected, 1e-5)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], optax.global_norm(expected), rtol=1e-5)
    assert int(metrics["tokens"]) == sum(_LENGTHS)


def test_the_norm_is_that_before_clipping(rng):
    model = MMRecLM(small_model(gate="none", memory="none"))
    batch = _batch(rng)
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    state = _state(model, clipped)
    after, metrics = jax.jit(make_train_step(model, clipped))(state, batch)
    moved = jax.tree.map(jnp.subtract, state.params, after.params)
    assert float(metrics["grad_norm"]) > 0.1
    np.testing.assert_allclose(optax.global_norm(moved), 1e-3, rtol=1e-3)
    assert int(after.step) == 1


def _inner(x, y):
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return sum(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs)


def test_orthogonal_uboo_leaves_the_component_along_the_main_gradient_alone(rng):
    config = small_model(
        gate="none", memory="none", use_uboo=True, lambda_p=0.5, uboo_orthogonal=True
    )
    model, batch = MMRecLM(config), _batch(rng)
    state = _state(model)

    def uboo(params):
        out = model.apply({"params": params}, batch["inputs"], None, batch["segment_ids"])
        return 0.5 * out[2]["uboo"]

    without = MMRecLM(dataclasses.replace(config, lambda_p=0.0, uboo_orthogonal=False))
    main, _ = _gradient(without, state, batch)
    auxiliary = jax.jit(jax.grad(uboo))(state.params)
    total, _ = _gradient(model, state, batch)
    added = jax.tree.map(jnp.subtract, total, main)
    share = _inner(auxiliary, main) / _inner(main, main)
    assert abs(share) > 1e-3  # there is something to remove
    assert abs(_inner(added, main)) < 1e-4 * abs(_inner(auxiliary, main))
    expected = jax.tree.map(lambda m, a: m + a - np.float32(share) * m, main, auxiliary)
    _assert_close(total, expected, 1e-4)


def _dropout_losses(accumulate, lengths, state=None, steps=3):
    """Losses of steps that change nothing but the step number."""
    model = MMRecLM(small_model(gate="none", memory="none", dropout=0.5))
    state = state or _state(model, _STILL)
    step = _step(model, _STILL, accumulate)
    row = _batch(np.random.default_rng(3), (12,))
    batch = {name: jnp.repeat(x, lengths, axis=0) for name, x in row.items()}
    losses = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, state


def test_dropout_differs_between_steps_and_is_the_same_from_the_same_state():
    losses, _ = _dropout_losses(1, 1)
    assert len(set(losses)) == 3
    first, state = _dropout_losses(1, 1, steps=1)
    saved = jax.tree.map(np.asarray, dataclasses.asdict(state))  # what a checkpoint holds
    again = TrainState(**{**saved, "opt_state": state.opt_state})
    rest, _ = _dropout_losses(1, 1, state=again, steps=2)
    assert first + rest == losses


def test_dropout_differs_between_micro_batches():
    alone, _ = _dropout_losses(1, 1, steps=1)
    twice, _ = _dropout_losses(2, 2, steps=1)  # the same row in two micro-batches
    assert alone != twice


def test_a_batch_in_which_nothing_counts_changes_nothing(rng):
    model = MMRecLM(small_model(gate="none", memory="none"))
    batch = _batch(rng)
    batch["weights"] = jnp.zeros_like(batch["weights"])
    gradient, metrics = _gradient(model, _state(model), batch)
    assert (float(metrics["loss"]), float(metrics["grad_norm"])) == (0.0, 0.0)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))
    assert int(metrics["tokens"]) == sum(_LENGTHS)


def test_evaluation_predicts_every_token_without_dropout(rng):
    config = small_model(gate="none", memory="none", dropout=0.5)
    model, batch = MMRecLM(config), _batch(rng)
    params = _state(model).params
    predicted, after = jax.jit(make_eval_step(model))(params, batch, None)
    logits, state, _ = jax.jit(model.apply)(
        {"params": params}, batch["inputs"], None, batch["segment_ids"]
    )
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    for b, n in enumerate(_LENGTHS):
        expected = [-log_p[b, t, batch["targets"][b, t]] for t in range(n)]
        np.testing.assert_allclose(predicted["nats"][b, :n], expected, rtol=1e-5)
    np.testing.assert_allclose(after.h, state.h, rtol=1e-5, atol=1e-6)
