"""Adapters on a quantised base: the functions of the dequantised one, and what is never made."""

import dataclasses
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
from mmrec_jax.tree import map_named, named_leaves
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


def _inner(family, width=16, layers=2, **fields):
    if family == "mmrec":
        return linear_model(model_dim=width, num_layers=layers, **fields)
    if family == "attention":
        return AttentionConfig(20, width, layers, 2, 2 * width).build()
    sizes = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 8, "ffn_dim": 24}
    tied = family != "untied"
    return TransformerConfig(20, width, layers, **sizes, tie_embeddings=tied).build()


@functools.cache
def _base(family, kind="nf4", **fields):
    """A model, and parameters with every matrix quantised; layers are of different sizes."""
    inner = _inner(family, **fields)

    def leaf(name, x):
        if name.endswith("/embedding"):
            return quantise(x, "int8", -1)
        if not name.endswith("kernel"):
            return x
        return quantise(x * np.arange(1, len(x) + 1, dtype=x.dtype)[:, None, None], kind)

    params = moved(jax.device_get(jax.jit(inner.init)(jax.random.key(0))))
    return inner, jax.device_put(map_named(leaf, params))


_values = jax.jit(lambda base: map_named(lambda _, leaf: dequantise(leaf), base))


def _noisy(inner, base, rules=_RULES, **options):
    return with_embedding_noise(adapt(inner, base, rules, **options), 5.0)


@functools.cache
def _stepped(family, kind="nf4", rule="dora", options=(), **fields):
    """A start, and the loss and the gradients of a step on the base and on its values."""
    inner, base = _base(family, kind, **fields)
    rules = [dataclasses.replace(_RULES[0], kind=rule)]
    state, found = None, []
    for each in (base, _values(base)):
        model = _noisy(inner, each, rules, **dict(options))
        if state is None:
            state = jax.jit(lambda model: start(model, build(inner), RECORDER))(model)
        after, metrics = jax.jit(make_train_step(RECORDER, build(inner)))(model, state, batch())
        found.append((metrics["loss"], after.opt_state))
    return state, rules, found


@pytest.mark.parametrize(
    ("family", "kind", "fields", "options", "rule"),
    [
        pytest.param("attention", "nf4", {}, (), "dora", marks=pytest.mark.soak),
        pytest.param("attention", "int8", {}, (("dropout", 0.3),), "dora", marks=pytest.mark.soak),
        pytest.param(
            *("mmrec", "nf4", {"remat": "full", "time_chunk": 4}, (("detach_norm", False),)),
            *("dora",),
            marks=pytest.mark.soak,
        ),
        pytest.param("transformer", "nf4", {}, (), "dora", marks=pytest.mark.soak),
        ("untied", "nf4", {}, (), "rslora"),
        ("mmrec", "nf4", {"remat": "dots"}, (), "dora"),
    ],
)
def test_loss_and_gradients_are_those_of_adapters_on_the_values(
    family, kind, fields, options, rule
):
    """Whole training steps, with NEFTune; and the merged weights are the same function."""
    inner, base = _base(family, kind, **fields)
    state, rules, results = _stepped(family, kind, rule, options, **fields)
    assert_close(*results, 1e-5)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(results[0][1]))
    rows = jnp.asarray(batch()["inputs"])

    @jax.jit
    def read(params):
        merged = dora.apply(base, params)
        logits = adapt(inner, base, rules).apply(params, rows).logits
        both = merged, dora.apply(_values(base), params)
        return inner.apply(merged, rows).logits, logits, *map(_values, both)

    of_merged, logits, *both = read(state.params)
    assert_close(*both, 1e-6)
    assert_close(of_merged, logits, 1e-5)


def test_adapters_begin_at_the_base_whose_norms_are_those_of_its_values():
    inner, base = _base("mmrec")
    model = adapt(inner, base, _RULES)
    values = adapt(inner, _values(base), _RULES)
    assert_close(model.squares, values.squares, 1e-6)

    @jax.jit
    def begun(key):
        first, second = (each.init(key) for each in (model, values))
        return first, second, _values(dora.apply(base, first)), _values(base)

    first, second, applied, expected = begun(jax.random.key(1))
    assert_close(first, second, 1e-6)
    assert_close(applied, expected, 1e-6)


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
    fields = {"remat": "dots"} if family == "mmrec" else {}
    inner, base = _base(family, **fields)
    _, _, (expected, _) = _stepped(family, **fields)
    devices = mesh(2, 2, 2)
    placed = shard_params(base, inner, devices)
    name = "blocks/project/fused/kernel" if family == "mmrec" else "blocks/qkv/kernel"
    kernel = named_leaves(placed)[name]
    assert kernel.codes.addressable_shards[0].data.size * 4 == kernel.codes.size
    split = _noisy(inner, placed)
    parts, call = on_mesh(devices, split, build(inner))
    parted, metrics = call(split, parts, batch())
    assert_close((metrics["loss"], parted.opt_state), expected, 2e-5)


_LAYERS, _WIDTH = 8, 64


def _largest_floats(program):
    """Numbers in the largest array of floats of a compiled program."""
    shapes = set(re.findall(r"\b(?:f16|bf16|f32|f64)\[([\d,]+)\]", program))
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def test_neither_does_what_is_computed_of_the_base_at_the_start():
    _, base = _base("mmrec", width=_WIDTH, layers=_LAYERS)
    key, rules = jax.random.key(0), dora.all_linear(2, 4.0)

    def begin(base):
        adapters = dora.init(key, base, rules)
        return adapters, dora.squares(base, adapters)

    program = jax.jit(begin).lower(base).compile().as_text()
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
    inner, base = _base(family, width=_WIDTH, layers=_LAYERS)
    model = adapt(inner, base, dora.all_linear(2, 4.0), detach_norm=detach_norm)
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
