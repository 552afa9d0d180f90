"""A training step with a frozen base: what moves, what is remembered, what it costs in bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.nn.model import MMRecLM
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.train.adapter_rules import adapter_rules
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.nn.small_model import named_leaves
from tests.small_run import small_model
from tests.train.step_test import _batch

_MODEL = MMRecLM(small_model(gate="none", memory="none"))
_CONFIG = AdapterConfig(kind="dora", rank=2, alpha=4.0, embedding_rows="3,40-41")
# Remembers the gradient it is given and moves nothing.
_RECORDER = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda gradient, _, params: (jax.tree.map(jnp.zeros_like, params), gradient),
)


@pytest.fixture(scope="module")
def batch():
    return _batch(np.random.default_rng(0))


def _start(optimizer, config):
    params = initial_state(_MODEL, optax.identity(), 0).params
    params = jax.tree.map(lambda x: x * 1.5, params)
    return initial_state(_MODEL, optimizer, 0, params=params, rules=adapter_rules(config))


def _state(optimizer, config=_CONFIG, *, moved=True):
    """A start, or adapters that have moved away from theirs."""
    state = jax.jit(lambda: _start(optimizer, config))()
    if not moved:
        return state
    rng = np.random.default_rng(1)
    moved = jax.tree.map(
        lambda x: np.asarray(x) + np.float32(0.1 * rng.normal(size=x.shape)), state.params
    )
    return state.replace(params=moved)


def _step(optimizer, state, batch, accumulate=1, config=_CONFIG):
    step = make_train_step(_MODEL, optimizer, accumulate, adapters=config)
    return jax.jit(step)(state, batch)


def test_applied_in_micro_batches_the_gradients_are_those_intercepted_at_once(batch):
    state = _state(_RECORDER)
    apply = dataclasses.replace(_CONFIG, path="apply")
    one, metrics = _step(_RECORDER, state, batch)
    other, expected = _step(_RECORDER, state, batch, accumulate=4, config=apply)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    for name, leaf in named_leaves(other.opt_state).items():
        scale = np.max(np.abs(leaf))
        assert scale > 0, name
        actual = named_leaves(one.opt_state)[name]
        np.testing.assert_allclose(actual, leaf, rtol=0, atol=2e-5 * scale, err_msg=name)


def test_sophia_and_dropout_move_every_adapter_and_nothing_else(batch):
    config = OptimConfig(name="sophia_g", lr=1e-2, warmup_steps=1)
    adapters = dataclasses.replace(_CONFIG, dropout=0.3)
    optimizer = build_optimizer(config, 10)
    state = _state(optimizer, moved=False)
    estimator = make_estimator(_MODEL, config, 1, adapters)
    step = jax.jit(make_train_step(_MODEL, optimizer, 1, estimator, adapters=adapters))
    after = state
    for _ in range(3):
        after, _ = step(after, batch)
    for name, leaf in named_leaves(state.base).items():
        np.testing.assert_array_equal(named_leaves(after.base)[name], leaf, err_msg=name)
    for name, leaf in named_leaves(state.params).items():
        assert np.any(named_leaves(after.params)[name] != leaf), name
    losses = [step(after.replace(step=np.int32(n)), batch)[1]["loss"] for n in (3, 4, 3)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]  # what is dropped depends on the step


@pytest.mark.parametrize(("name", "scalars"), [("adamw", 2), ("sophia_g", 6), ("muon", None)])
def test_the_optimizer_remembers_adapters_alone(batch, name, scalars):
    """Two moments of each adapter and some scalars: AdamW's two counts, say."""
    optimizer = build_optimizer(OptimConfig(name=name), 10)
    state = jax.eval_shape(lambda: _start(optimizer, _CONFIG))
    trained = sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    held = sum(leaf.dtype.itemsize * leaf.size for leaf in jax.tree.leaves(state.opt_state))
    assert trained == 4 * _numbers(state.base.params)
    assert trained < 0.3 * sum(4 * leaf.size for leaf in jax.tree.leaves(state.base.params))
    if scalars is not None:
        assert held == 2 * trained + 4 * scalars
    after, _ = jax.eval_shape(make_train_step(_MODEL, optimizer, adapters=_CONFIG), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def _numbers(params):
    """By hand: rank 2 of every kernel [2, in, out] that is adapted, magnitudes, and three rows."""
    block = params["blocks"]
    kernels = [block["project"]["fused"], block["out"], *block["ffn"].values()]
    sizes = [leaf["kernel"].shape[1:] for leaf in kernels]
    return 2 * sum(2 * (i + o) + o for i, o in sizes) + 3 * params["embed"]["embedding"].shape[1]
