"""A training step with a frozen base: what moves, what is remembered, what it costs in bytes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax import dora
from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.dora.adapted_model import adapt, adapter_rules, first_values
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_refresh, make_train_step
from mmrec_jax.tree import count, named_leaves, num_bytes
from tests.small_step import RECORDER, assert_close, batch, build, linear_model, moved

_INNER = linear_model(num_layers=1)
_ROWS = "3,10-11"


@functools.cache
def _base():
    return jax.jit(lambda: moved(_INNER.init(jax.random.key(0))))()


def _model(kind="dora", rows=_ROWS, train="", **options):
    config = AdapterConfig(kind=kind, rank=2, alpha=4.0, embedding_rows=rows, train=train)
    return adapt(_INNER, _base(), adapter_rules(config, _INNER), **options)


def test_sophia_and_dropout_move_every_adapter_and_nothing_else():
    model, objectives = _model(dropout=0.3), build(_INNER)
    config = OptimConfig(name="sophia_g", lr=1e-2, warmup_steps=1)
    optimizer = build_optimizer(config, 10, model.decays)
    state = jax.jit(lambda: initial_state(model, objectives, optimizer, 0))()
    refresh = jax.jit(make_refresh(make_estimator(config), config.B2))
    step = jax.jit(make_train_step(optimizer, objectives))
    base, after = jax.tree.map(np.array, model.base), state
    for _ in range(3):
        after, _ = step(model, refresh(model, after, batch()), batch())
    jax.tree.map(np.testing.assert_array_equal, model.base, base)
    for name, leaf in named_leaves(state.params).items():
        assert np.any(named_leaves(after.params)[name] != leaf), name
    losses = [step(model, after.replace(step=np.int32(n)), batch())[1]["loss"] for n in (3, 4, 3)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]  # what is dropped depends on the step


def test_in_microbatches_the_loss_and_gradient_are_those_by_hand():
    """Against the gradient of the weighted mean with the adapted weights formed outside."""
    model, rows = _model("lora", rows=""), batch()
    state = jax.jit(lambda: initial_state(model, build(model), RECORDER, 0))()
    state = state.replace(params=moved(state.params))
    after, metrics = jax.jit(make_train_step(RECORDER, build(model), 2))(model, state, rows)

    def loss(adapters):
        params = jax.tree.map(lambda x: x, _base())
        for name, node in dora.nodes(adapters).items():
            *folders, last = name.split("/")
            branch = functools.reduce(dict.__getitem__, folders, params)
            branch[last] = branch[last] + 2.0 * jnp.einsum("lir,lro->lio", node.a, node.b)
        logits = _INNER.apply(params, rows["inputs"], None, rows["segment_ids"]).logits
        log_p = jax.nn.log_softmax(logits)
        nll = -jnp.take_along_axis(log_p, rows["targets"][..., None], axis=-1)[..., 0]
        return jnp.sum(nll * rows["weights"]) / jnp.sum(rows["weights"])

    value, expected = jax.jit(jax.value_and_grad(loss))(state.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(expected))
    assert_close(after.opt_state, expected, 2e-5)


@pytest.mark.parametrize("name", ["adamw", "sophia_g"])
def test_the_optimizer_remembers_adapters_alone(name):
    """Two moments of each adapter and a few scalars."""
    model = _model()
    optimizer = build_optimizer(OptimConfig(name=name), 10, model.decays)
    state = jax.eval_shape(lambda: initial_state(model, build(model), optimizer, 0))
    trained, held = num_bytes(state.params), num_bytes(state.opt_state)
    assert trained == 4 * _numbers(model.base)
    assert trained < 0.3 * num_bytes(model.base)
    assert 2 * trained <= held <= 2 * trained + 64
    after, _ = jax.eval_shape(make_train_step(optimizer, build(model)), model, state, batch())
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize("kind", ["dora", "whole"])
def test_what_is_whole_is_in_the_state_alone_and_gets_the_gradient_of_the_model(kind):
    train = "final_norm|ffn/down"
    model, rows = _model(kind, rows="", train=train), batch()
    given = first_values(_base(), model.rules)
    state = jax.jit(lambda: initial_state(model, build(model), RECORDER, 0, given=given))()
    chosen = {name: x for name, x in named_leaves(_base()).items() if re.search(train, name)}
    held = {name.removesuffix("/value"): x for name, x in named_leaves(state.params).items()}
    assert len(chosen) == 2
    assert not chosen.keys() & named_leaves(model.base).keys()
    assert all(np.array_equal(held[name], x) for name, x in chosen.items())
    assert (kind == "whole") == (held.keys() == chosen.keys())
    step = jax.jit(make_train_step(RECORDER, build(model)))
    after, _ = step(model, state, rows)
    plain = jax.jit(lambda: initial_state(_INNER, build(_INNER), RECORDER, 0, given=_base_leaves()))
    expected, _ = jax.jit(make_train_step(RECORDER, build(_INNER)))(_INNER, plain(), rows)
    gradients, whole = named_leaves(after.opt_state), named_leaves(expected.opt_state)
    for name in chosen:
        assert_close(gradients[f"{name}/value"], whole[name], 1e-5)
    assert all(model.decays(f"{name}/value") == _INNER.decays(name) for name in chosen)


def _base_leaves():
    return named_leaves(_base())


def _numbers(params):
    """By hand: rank 2 of every kernel [1, in, out] that is adapted, magnitudes, and three rows."""
    block = params["blocks"]
    kernels = [block["project"]["fused"], block["out"], *block["ffn"].values()]
    sizes = [leaf["kernel"].shape[1:] for leaf in kernels]
    return sum(2 * (i + o) + o for i, o in sizes) + 3 * params["embed"]["embedding"].shape[1]


def test_magnitudes_do_not_decay():
    model = _model()
    state = jax.eval_shape(lambda: initial_state(model, {}, optax.identity(), 0))
    kept = {name for name in named_leaves(state.params) if not model.decays(name)}
    assert kept
    assert all(name.endswith("/m") for name in kept)
    assert count(state.objectives) == 0
