"""A training step with a frozen base: what moves, what is remembered, what it costs in bytes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mmrec_jax.train.adapter_rules import adapter_rules

from mmrec_jax import dora
from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.models.mmrec.small_model import named_leaves
from tests.small_run import small_model
from tests.train.step_test import _batch

_MODEL = MMRecLM(small_model(gate="none", memory="none", num_layers=1))
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


def test_sophia_and_dropout_move_every_adapter_and_nothing_else(batch):
    config = OptimConfig(name="sophia_g", lr=1e-2, warmup_steps=1)
    adapters = dataclasses.replace(_CONFIG, dropout=0.3)
    optimizer = build_optimizer(config, 10)
    state = jax.jit(lambda: _start(optimizer, adapters))()
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


def test_applied_in_micro_batches_the_loss_and_gradient_are_those_by_hand(batch):
    """Against the gradient of the weighted mean with the adapted weights formed outside."""
    config = dataclasses.replace(_CONFIG, kind="lora", path="apply", embedding_rows="")
    state = jax.jit(lambda: _start(_RECORDER, config))()
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda x: x + np.float32(0.1 * rng.normal(size=x.shape)), state.params)
    state = state.replace(params=moved)
    after, metrics = jax.jit(make_train_step(_MODEL, _RECORDER, 2, adapters=config))(state, batch)

    def loss(adapters):
        params = jax.tree.map(lambda x: x, state.base.params)
        for name, node in dora.nodes(adapters).items():
            *folders, last = name.split("/")
            place = functools.reduce(dict.__getitem__, folders, params)
            place[last] = place[last] + 2.0 * jnp.einsum("lir,lro->lio", node.a, node.b)
        tokens = (batch["inputs"], None, batch["segment_ids"])
        logits, _, _ = _MODEL.apply({"params": params}, *tokens)
        nats = -jnp.take_along_axis(
            jax.nn.log_softmax(logits), batch["targets"][..., None], axis=-1
        )[..., 0]
        return jnp.sum(nats * batch["weights"]) / jnp.sum(batch["weights"])

    value, expected = jax.jit(jax.value_and_grad(loss))(state.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    for name, leaf in named_leaves(expected).items():
        scale = np.max(np.abs(leaf))
        assert scale > 0, name
        actual = named_leaves(after.opt_state)[name]
        np.testing.assert_allclose(actual, leaf, rtol=0, atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize("name", ["adamw", "sophia_g"])
def test_the_optimizer_remembers_adapters_alone(batch, name):
    """Two moments of each adapter and a few scalars."""
    optimizer = build_optimizer(OptimConfig(name=name), 10)
    state = jax.eval_shape(lambda: _start(optimizer, _CONFIG))
    trained = sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    held = sum(leaf.dtype.itemsize * leaf.size for leaf in jax.tree.leaves(state.opt_state))
    assert trained == 4 * _numbers(state.base.params)
    assert trained < 0.3 * sum(4 * leaf.size for leaf in jax.tree.leaves(state.base.params))
    assert 2 * trained <= held <= 2 * trained + 64
    after, _ = jax.eval_shape(make_train_step(_MODEL, optimizer, adapters=_CONFIG), state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def _numbers(params):
    """By hand: rank 2 of every kernel [1, in, out] that is adapted, magnitudes, and three rows."""
    block = params["blocks"]
    kernels = [block["project"]["fused"], block["out"], *block["ffn"].values()]
    sizes = [leaf["kernel"].shape[1:] for leaf in kernels]
    return sum(2 * (i + o) + o for i, o in sizes) + 3 * params["embed"]["embedding"].shape[1]
