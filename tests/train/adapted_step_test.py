"""A training step with a frozen base: what moves, what is remembered, what it costs in bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax import dora
from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.nn.model import MMRecLM
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.train.adapter_rules import adapter_rules
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_eval_step, make_train_step
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


def _state(optimizer, config=_CONFIG, *, moved=True):
    """Adapters away from their start, on parameters away from theirs."""

    def start():
        params = initial_state(_MODEL, optax.identity(), 0).params
        params = jax.tree.map(lambda x: x * 1.5, params)
        state = initial_state(_MODEL, optimizer, 0, params=params, rules=adapter_rules(config))
        if not moved:
            return state
        keys = iter(jax.random.split(jax.random.key(1), 99))
        noise = jax.tree.map(lambda x: 0.1 * jax.random.normal(next(keys), x.shape), state.params)
        return state.replace(params=jax.tree.map(jnp.add, state.params, noise))

    return jax.jit(start)()


def _step(optimizer, state, batch, accumulate=1, config=_CONFIG, estimator=None):
    step = make_train_step(_MODEL, optimizer, accumulate, estimator, adapters=config)
    return jax.jit(step)(state, batch)


@pytest.fixture(scope="module")
def gradients(batch):
    """Those of the adapters, intercepted and applied."""
    state = _state(_RECORDER)
    return {
        path: _step(_RECORDER, state, batch, config=dataclasses.replace(_CONFIG, path=path))
        for path in ("intercept", "apply")
    }


def test_both_paths_have_the_same_gradients(gradients):
    (one, metrics), (other, expected) = gradients["intercept"], gradients["apply"]
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    for name, leaf in named_leaves(other.opt_state).items():
        scale = np.max(np.abs(leaf))
        assert scale > 0, name
        actual = named_leaves(one.opt_state)[name]
        np.testing.assert_allclose(actual, leaf, rtol=0, atol=2e-5 * scale, err_msg=name)


def test_micro_batches_add_up(gradients, batch):
    state, _ = _step(_RECORDER, _state(_RECORDER), batch, accumulate=4)
    for name, leaf in named_leaves(gradients["intercept"][0].opt_state).items():
        scale = np.max(np.abs(leaf))
        actual = named_leaves(state.opt_state)[name]
        np.testing.assert_allclose(actual, leaf, rtol=0, atol=2e-5 * scale, err_msg=name)


def test_the_base_stays_and_only_adapters_have_moments(batch):
    optimizer = build_optimizer(OptimConfig(lr=1e-2, warmup_steps=0), 10)
    state = _state(optimizer)
    after, _ = _step(optimizer, state, batch)
    for name, leaf in named_leaves(state.base).items():
        np.testing.assert_array_equal(named_leaves(after.base)[name], leaf, err_msg=name)
    for name, leaf in named_leaves(state.params).items():
        assert np.all(named_leaves(after.params)[name] != leaf), name
    # Two moments of each adapter, and two counts: of Adam's bias correction and of the schedule.
    trained = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(after.opt_state))
    assert held == 2 * trained + 2 * 4
    assert trained == 4 * _numbers(state.base.params)
    assert trained < 0.3 * sum(leaf.nbytes for leaf in jax.tree.leaves(state.base.params))


def _numbers(params):
    """By hand: rank 2 of every kernel [2, in, out] that is adapted, magnitudes, and three rows."""
    block = params["blocks"]
    kernels = [block["project"]["fused"], block["out"], *block["ffn"].values()]
    sizes = [leaf["kernel"].shape[1:] for leaf in kernels]
    return 2 * sum(2 * (i + o) + o for i, o in sizes) + 3 * params["embed"]["embedding"].shape[1]


def test_at_the_start_the_model_is_the_base(batch):
    state = _state(optax.identity(), moved=False)
    predict = jax.jit(make_eval_step(_MODEL))
    base, _ = predict(state.base.params, batch, None)
    adapted, _ = predict(jax.jit(dora.apply)(state.base.params, state.params), batch, None)
    np.testing.assert_array_equal(adapted["nats"], base["nats"])


@pytest.mark.parametrize("name", ["sophia_g", "muon"])
def test_other_optimizers_train_adapters_alone(batch, name):
    config = OptimConfig(name=name, lr=1e-2, warmup_steps=1)
    optimizer = build_optimizer(config, 10)
    state = _state(optimizer, moved=False)
    estimator = make_estimator(_MODEL, config, 1, _CONFIG) if config.uses_hessian else None
    after, first = _step(optimizer, state, batch, estimator=estimator)
    _, second = _step(optimizer, after, batch, estimator=estimator)
    assert float(second["loss"]) < float(first["loss"])


def test_adapter_dropout_is_there_and_differs_between_steps(batch):
    config = dataclasses.replace(_CONFIG, dropout=0.5)
    state = _state(_RECORDER)
    step = jax.jit(make_train_step(_MODEL, _RECORDER, adapters=config))
    after, first = step(state, batch)
    _, second = step(after, batch)
    _, again = step(state, batch)
    losses = [float(metrics["loss"]) for metrics in (first, second, again)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]
