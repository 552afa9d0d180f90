"""Several devices, and parts of parameters on each: the run of one device, with less memory."""

import functools

import jax
import numpy as np
import pytest

from mmrec_jax.config import AdapterConfig, Config, MeshConfig, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.dora.adapted_model import adapt, adapter_rules
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.objectives.config import CrossEntropyConfig, Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train import mesh as mesh_module
from mmrec_jax.train.assembly import build_objectives
from mmrec_jax.train.compiled_steps import lower_refresh, lower_step
from mmrec_jax.train.mesh import (
    abstract_on,
    by_row,
    make_mesh,
    mesh_shape,
    shard_batch,
    split_cpu,
    state_shardings,
)
from mmrec_jax.train.state import initial_state
from mmrec_jax.tree import named_leaves, num_bytes
from tests.refused import refused
from tests.small_step import TOKENIZER, assert_close, batch, mesh, moved, shard_params

_SMALL = {"vocab_size": 24, "model_dim": 16, "num_layers": 2, "num_memories": 2, "chunk": 4}
_LINEAR = {"gate": "none", "memory": "none"}
# name: fields of the model, the optimizer, steps, microbatches, whether the state is carried
_CASES = {
    "adamw": ({"dropout": 0.1}, OptimConfig(lr=3e-3, warmup_steps=1), 20, 1, False),
    "adapters": (_LINEAR, OptimConfig("sophia_g", 1e-2, warmup_steps=1), 6, 2, True),
}


@functools.cache
def _train(case, shape):
    """Losses, the moments after the first step, and the last state; all steps refresh Sophia's."""
    fields, optim, steps, accumulate, carry = _CASES[case]
    chunk = None if shape == (1, 1, 1) or case == "adamw" else 3  # of 8 tokens
    config = Config(
        model=MMRecConfig(**_SMALL, remat="none", dtype="float64", param_dtype="float64", **fields),
        objectives=Objectives(uboo=UBOOConfig(), cross_entropy=CrossEntropyConfig(chunk=chunk)),
        data=TextConfig(train="none.txt", seq_len=8),
        optim=optim,
        train=TrainConfig(
            steps=steps, batch_size=8, accumulate=accumulate, devices=int(np.prod(shape))
        ),
        mesh=MeshConfig(*shape),
    )
    with jax.enable_x64(True):
        devices, model = make_mesh(config), config.model.build()
        if case == "adapters":
            base = jax.jit(lambda: moved(model.init(jax.random.key(0))))()
            rules = adapter_rules(AdapterConfig(kind="dora", rank=2, dropout=0.1), model)
            model = adapt(model, shard_params(base, model, devices), rules, dropout=0.1)
        objectives = build_objectives(config, model, TOKENIZER)
        optimizer = build_optimizer(optim, steps, model.decays)

        def begin(model):
            return initial_state(model, objectives, optimizer, 0, 8 if carry else None)

        shardings = state_shardings(jax.eval_shape(begin, model), model, devices)
        state = jax.device_put(jax.jit(begin)(model), shardings)  # compiled once for all meshes
        abstract = abstract_on(jax.eval_shape(lambda: state), shardings)
        parts = config, devices, model
        step = lower_step(*parts, objectives, optimizer, abstract).compile()
        if optim.uses_hessian:
            refresh = lower_refresh(*parts, abstract).compile()
        rows = [batch(width=8, seed=seed) for seed in range(4)]
        losses, first = [], None
        for number in range(steps):
            read = shard_batch(rows[number % 4], devices)
            if optim.uses_hessian:
                state = refresh(model, state, read)
            state, metrics = step(model, state, read)
            losses.append([float(metrics[name]) for name in ("loss", "uboo", "grad_norm")])
            first = first or jax.tree.map(np.asarray, state.opt_state)
    return np.asarray(losses), first, state


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        ("adamw", (2, 2, 2)),
        pytest.param("adamw", (1, 8, 1), marks=pytest.mark.soak),
        ("adapters", (2, 2, 2)),  # a constraint on activations made XLA mix up rows here
        pytest.param("adapters", (2, 2, 1), marks=pytest.mark.soak),  # and is in force here
    ],
)
def test_in_float64_every_mesh_trains_as_one_device(case, shape):
    """With dropout, UBOO, Sophia-G, microbatches, a carried state, adapters, chunks of logits."""
    expected, first, _ = _train(case, (1, 1, 1))
    losses, found, state = _train(case, shape)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    assert_close(found, first, 1e-9)
    assert expected[-1][0] < expected[0][0]
    parts = {leaf.addressable_shards[0].data.size / leaf.size for leaf in _matrices(state.params)}
    assert min(parts) == 1 / (max(shape[1:]) if case == "adapters" else shape[1] * shape[2])
    if state.carried is not None:
        assert state.carried.h.addressable_shards[0].data.shape[1] == 8 // (shape[0] * shape[1])


def _matrices(params):
    return [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 2]


@pytest.mark.parametrize("name", ["adamw", "sophia_g", "lion"])
def test_moments_lie_where_their_parameter_does_and_a_device_has_a_quarter(name):
    """Of the real size "small", without computing anything."""
    model = SIZES["small"].build()
    config = Config(objectives=Objectives(uboo=UBOOConfig()))
    objectives = build_objectives(config, model, TOKENIZER)
    optimizer = build_optimizer(OptimConfig(name), 10, model.decays)
    state = jax.eval_shape(lambda: initial_state(model, objectives, optimizer, 0))
    where = state_shardings(state, model, mesh(2, 2, 2))
    assert jax.tree.structure(where) == jax.tree.structure(state)
    moments = named_leaves(where.opt_state)
    own = {f"objectives/{name}": x for name, x in named_leaves(where.objectives).items()}
    for parameter, sharding in (named_leaves(where.params) | own).items():
        found = [x for path, x in moments.items() if path.endswith(f"/{parameter}")]
        assert found == [sharding] * (1 if name == "lion" else 2)
    on_one = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(sharding.shard_shape(x.shape), x.dtype),
        state,
        where,
    )
    assert num_bytes(on_one) <= 0.3 * num_bytes(state)


def test_rows_are_dealt_to_the_devices_in_order():
    devices = mesh(2, 2, 2)
    rows = np.arange(8 * 3).reshape(8, 3)
    placed = shard_batch({"x": rows}, devices)["x"]
    assert placed.sharding == by_row(devices)
    for shard in placed.addressable_shards:
        first = 2 * (shard.device.id // 2)  # two devices of an axis "tensor" have the same rows
        np.testing.assert_array_equal(shard.data, rows[first : first + 2])


def _config(mesh=None, **train):
    train = {"steps": 1, "batch_size": 16, **train}
    return Config(train=TrainConfig(**train), mesh=MeshConfig(**(mesh or {})))


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (_config(), (8, 1, 1)),
        (_config({"fsdp": 2, "tensor": 2}), (2, 2, 2)),
        (_config({"data": 1, "fsdp": -1}), (1, 8, 1)),
        (_config({"data": 1, "fsdp": 4}, devices=4), (1, 4, 1)),
    ],
)
def test_all_devices_are_used_unless_told_otherwise(config, shape):
    made = make_mesh(config)
    assert tuple(made.shape[name] for name in ("data", "fsdp", "tensor")) == shape
    assert made.devices.flatten().tolist() == jax.devices()[: np.prod(shape)]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: make_mesh(_config(devices=9, batch_size=9)), "config.train.devices is 9"),
        (lambda: make_mesh(_config(accumulate=4)), "batch_size / accumulate is 4"),
        (lambda: make_mesh(_config({"fsdp": 4, "tensor": 2}, batch_size=2)), "is 2"),
        (lambda: mesh_shape(MeshConfig(fsdp=3), 8), "fsdp 3"),
        (lambda: mesh_shape(MeshConfig(1, 2, 2), 8), "tensor 2"),
        (lambda: MeshConfig(fsdp=-1), "mesh.fsdp"),
        (lambda: MeshConfig(tensor=0), "mesh.tensor"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused_by_field(make, field):
    refused(make, field)


@pytest.mark.parametrize(
    ("flags", "config", "expected"),
    [
        ("", _config(batch_size=12, accumulate=2), 3),  # the most of four cores that divide six
        ("", _config(batch_size=10, devices=5), 5),
        ("", _config({"fsdp": 2}, batch_size=6), 2),
        ("", _config({"data": 2, "fsdp": 4}), 8),
        ("--xla_force_host_platform_device_count=2", _config(batch_size=12), None),
    ],
)
def test_the_cpu_becomes_one_device_per_core_unless_told_otherwise(
    monkeypatch, flags, config, expected
):
    asked = {}
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(mesh_module.os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    monkeypatch.setattr(jax.config, "update", asked.__setitem__)
    split_cpu(config)
    assert asked.get("jax_num_cpu_devices") == expected


def test_splitting_the_cpu_too_late_is_no_error():
    split_cpu(_config(batch_size=9, devices=3))
    assert len(jax.devices()) == 8
