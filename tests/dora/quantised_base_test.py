"""Adapters on a quantised base: the functions of the dequantised one, and what is never made."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.config import OptimConfig
from mmrec_jax.dora.adapted_model import adapt
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.noise import with_embedding_noise
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.quantised import dequantise, quantise
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_eval_step, make_refresh, make_train_step
from mmrec_jax.tree import map_named
from tests.small_step import (
    RECORDER,
    assert_close,
    batch,
    build,
    linear_model,
    mesh,
    moved,
    on_mesh,
    shard_params,
    start,
)

_RULES = (dora.AdapterRule("(out|down|fused|qkv)/kernel", 3, 6.0),)  # others stay unadapted


def _inner(family, **fields):
    if family == "mmrec":
        return linear_model(**fields)
    return AttentionConfig(20, 16, 2, 2, 32, **fields).build()


def _quantised(params, kind="nf4"):
    """Of every kernel, with layers of different sizes."""

    def leaf(name, x):
        if not name.endswith("kernel"):
            return x
        return quantise(x * jnp.arange(1, len(x) + 1, dtype=x.dtype)[:, None, None], kind)

    return map_named(leaf, params)


@functools.cache
def _base(family, kind="nf4", **fields):
    inner = _inner(family, **fields)
    return inner, _quantised(moved(jax.jit(inner.init)(jax.random.key(0))), kind)


def _values(base):
    return map_named(lambda _, leaf: dequantise(leaf), base)


@pytest.mark.parametrize(
    ("family", "kind", "fields", "options", "rule"),
    [
        pytest.param("attention", "nf4", {}, {}, "dora", marks=pytest.mark.soak),
        pytest.param("attention", "int8", {}, {"dropout": 0.3}, "dora", marks=pytest.mark.soak),
        pytest.param(
            *("mmrec", "nf4", {"remat": "full", "time_chunk": 4}, {"detach_norm": False}, "dora"),
            marks=pytest.mark.soak,
        ),
        ("mmrec", "nf4", {"remat": "dots"}, {}, "rslora"),
    ],
)
def test_loss_and_gradients_are_those_of_adapters_on_the_values(
    family, kind, fields, options, rule
):
    """Whole training steps, with NEFTune; and the merged weights are the same function."""
    inner, base = _base(family, kind, **fields)
    rules = [dora.AdapterRule(_RULES[0].pattern, 3, 6.0, rule)]
    results = []
    for each in (base, _values(base)):
        model = with_embedding_noise(adapt(inner, each, rules, **options), 5.0)
        state = jax.jit(lambda model: start(model, build(inner), RECORDER))(model)
        step = jax.jit(make_train_step(RECORDER, build(inner)))
        after, metrics = step(model, state, batch())
        results.append((metrics["loss"], after.opt_state))
    assert_close(*results, 1e-5)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(results[0][1]))
    merged = jax.jit(dora.apply)(base, state.params)
    assert_close(merged, jax.jit(dora.apply)(_values(base), state.params), 1e-6)
    rows = jnp.asarray(batch()["inputs"])
    read = jax.jit(lambda model, params: model.apply(params, rows).logits)
    assert_close(read(inner, merged), read(adapt(inner, base, rules), state.params), 1e-5)


def test_adapters_begin_at_the_base_whose_norms_are_those_of_its_values():
    inner, base = _base("mmrec")
    model = adapt(inner, base, _RULES)
    values = adapt(inner, _values(base), _RULES)
    assert_close(model.squares, values.squares, 1e-6)
    begun = [jax.jit(each.init)(jax.random.key(1)) for each in (model, values)]
    assert_close(*begun, 1e-6)
    assert_close(jax.jit(dora.apply)(base, begun[0]), _values(base), 1e-6)


@pytest.mark.soak
def test_sophia_moves_every_adapter_on_it_and_dropout_is_drawn():
    inner, base = _base("mmrec")
    model, config = adapt(inner, base, _RULES, dropout=0.3), OptimConfig(name="sophia_g", lr=1e-2)
    optimizer = build_optimizer(config, 10, model.decays)
    state = jax.jit(lambda model: initial_state(model, build(inner), optimizer, 0))(model)
    refresh = jax.jit(make_refresh(make_estimator(config), config.B2))
    step = jax.jit(make_train_step(optimizer, build(inner)))
    after = state
    for _ in range(3):
        after, metrics = step(model, refresh(model, after, batch()), batch())
    assert np.isfinite(metrics["loss"])
    for old, new in zip(*map(jax.tree.leaves, (state.params, after.params)), strict=True):
        assert np.any(old != new)


@pytest.mark.parametrize("family", ["mmrec", pytest.param("attention", marks=pytest.mark.soak)])
def test_codes_and_scales_are_split_like_their_kernel_and_the_step_is_the_same(family):
    inner, base = _base(family)
    rows = batch()
    expected = jax.jit(make_train_step(RECORDER, build(inner)))
    model = adapt(inner, base, _RULES)
    state = jax.jit(lambda model: start(model, build(inner), RECORDER))(model)
    after, metrics = expected(model, state, rows)
    devices = mesh(2, 2, 2)
    split = adapt(inner, shard_params(base, inner, devices), _RULES)
    name = "fused" if family == "mmrec" else "qkv"
    kernel = (split.base["blocks"]["project"] if family == "mmrec" else split.base["blocks"])[name]
    kernel = kernel["kernel"]
    assert kernel.codes.addressable_shards[0].data.size * 4 == kernel.codes.size
    parts, call = on_mesh(devices, split, build(inner))
    parted, parted_metrics = call(split, parts, rows)
    np.testing.assert_allclose(parted_metrics["loss"], metrics["loss"], rtol=1e-5)
    assert_close(jax.device_get(parted.opt_state), jax.device_get(after.opt_state), 2e-5)


_LAYERS, _WIDTH = 8, 64


def _largest_floats(program):
    """Numbers in the largest array of floats of a compiled program."""
    shapes = set(re.findall(r"\b(?:f16|bf16|f32|f64)\[([\d,]+)\]", program))
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def test_neither_does_what_is_computed_of_the_base_at_the_start():
    _, base = _base("mmrec", model_dim=_WIDTH, num_layers=_LAYERS)
    key, rules = jax.random.key(0), dora.all_linear(2, 4.0)
    adapters = jax.eval_shape(lambda base: dora.init(key, base, rules), base)
    for start_of in (
        lambda base: dora.init(key, base, rules),
        lambda base: dora.squares(base, adapters),
    ):
        program = jax.jit(start_of).lower(base).compile().as_text()
        assert 0 < _largest_floats(program) < _LAYERS * _WIDTH**2


@pytest.mark.parametrize(
    ("family", "detach_norm"),
    [
        ("mmrec", False),
        pytest.param("attention", True, marks=pytest.mark.soak),
        pytest.param("mmrec", True, marks=pytest.mark.soak),
        pytest.param("attention", False, marks=pytest.mark.soak),
    ],
)
def test_a_step_makes_no_array_of_floats_of_the_size_of_a_kernel_of_all_layers(family, detach_norm):
    """Whether layers are computed again in the backward pass (attention) or not (MM-Rec)."""
    sizes = {"model_dim": _WIDTH, "num_layers": _LAYERS}
    inner = linear_model(**sizes)
    if family == "attention":
        inner = AttentionConfig(20, _WIDTH, _LAYERS, 2, 2 * _WIDTH).build()
    params = jax.jit(inner.init)(jax.random.key(0))
    model = adapt(inner, _quantised(params), dora.all_linear(2, 4.0), detach_norm=detach_norm)
    state = jax.eval_shape(lambda model: initial_state(model, build(inner), RECORDER, 0), model)
    step = jax.jit(make_train_step(RECORDER, build(inner)))
    few = batch((4, 3), width=4)
    training = step.lower(model, state, few)
    few = jax.tree.map(jnp.asarray, few)
    evaluation = jax.jit(make_eval_step()).lower(model, state.params, few, None)
    one_layer = _WIDTH * 2 * 2 * _WIDTH  # of the largest kernel that both have
    for lowered in (training, evaluation):
        largest = _largest_floats(lowered.compile().as_text())
        assert one_layer <= largest < _LAYERS * _WIDTH**2


@pytest.mark.parametrize(
    "family", ["mmrec", "untied", pytest.param("transformer", marks=pytest.mark.soak)]
)
def test_an_embedding_of_int8_is_read_and_multiplied_with_as_its_values(family):
    """Of all families: Flax's `Embed`, and the table of the transformer."""
    if family == "mmrec":
        inner = linear_model()
    else:
        sizes = {"model_dim": 16, "num_layers": 2, "num_heads": 2, "head_dim": 8, "ffn_dim": 24}
        tied = family != "untied"
        inner = TransformerConfig(20, **sizes, num_kv_heads=1, tie_embeddings=tied).build()
    params = moved(jax.jit(inner.init)(jax.random.key(0)), 0.4)

    def leaf(name, x):
        return quantise(x, "int8", -1) if name.endswith("/embedding") else x

    results = []
    base = map_named(leaf, params)
    for each in (base, _values(base)):
        model = adapt(inner, each, dora.all_linear(2, 4.0))
        state = jax.jit(lambda model: start(model, build(inner), RECORDER))(model)
        after, metrics = jax.jit(make_train_step(RECORDER, build(inner)))(model, state, batch())
        results.append((metrics["loss"], after.opt_state))
    assert_close(*results, 1e-5)
