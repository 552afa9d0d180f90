"""Devices that share each row take the training step of one device, with less memory."""

import functools

import jax
import numpy as np
import pytest

from mmrec_jax.config import Config, MeshConfig, NoiseConfig, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.stages import StageConfig
from mmrec_jax.train.assembly import build_objectives
from mmrec_jax.train.compiled_steps import lower_step
from mmrec_jax.train.mesh import abstract_on, make_mesh, shard_batch, state_shardings
from tests.refused import refused
from tests.small_step import RECORDER, TOKENIZER, assert_close, batch, start

_LENGTH, _ROWS = 24, 4
_SMALL = {"vocab_size": 20, "model_dim": 16, "num_layers": 2, "num_memories": 2, "chunk": 4}
_LINEAR = {"gate": "none", "memory": "none"}


def _config(mesh, accumulate=1, length=_LENGTH, **fields):
    train = {"batch_size": _ROWS, "accumulate": accumulate, "carry_state": True}
    return Config(
        model=MMRecConfig(**_SMALL, **fields),
        data=TextConfig(train="none.txt", seq_len=length),
        train=TrainConfig(steps=2, devices=int(np.prod(mesh)), **train),
        mesh=MeshConfig(*mesh),
    )


@functools.cache
def _two_steps(mesh, accumulate, fields):
    """Losses, the gradient of the second step, and the state of the rows that it leaves behind."""
    config = _config(mesh, accumulate, **dict(fields))
    devices, model = make_mesh(config), config.model.build()
    objectives = build_objectives(config, model, TOKENIZER)
    begin = functools.partial(start, model, objectives, RECORDER, _ROWS)
    where = state_shardings(jax.eval_shape(begin), model, devices)
    state = jax.jit(begin, out_shardings=where)()
    shapes = abstract_on(jax.eval_shape(begin), where)
    step = lower_step(config, devices, model, objectives, RECORDER, shapes).compile()
    losses = []
    for seed in range(2):
        rows = batch((_LENGTH, 10, 2, 21), _LENGTH, seed)
        state, metrics = step(model, state, shard_batch(rows, devices))
        losses.append(float(metrics["loss"]))
    return np.asarray(losses), state.opt_state, state.carried


def _check(mesh, accumulate, fields, tolerance):
    """Also that a device keeps its part alone of what "fsdp" splits."""
    expected = _two_steps((1, 1, 1, 1), 1, tuple(fields.items()))
    # Of blocks of two tokens on a device, the last of one.
    found = _two_steps(mesh, accumulate, (*fields.items(), ("time_chunk", 2)))
    assert_close(found, expected, tolerance)
    kept = found[1]["blocks"]["ffn"]["down"]["kernel"].addressable_shards[0].data
    assert kept.size * np.prod(mesh[1:]) == 2 * 64 * 16


@pytest.mark.soak
def test_the_linear_model_on_two_times_four_devices():
    _check((2, 1, 1, 4), 2, _LINEAR, 1e-5)


@pytest.mark.soak
@pytest.mark.parametrize("gate", ["state", "input"])
@pytest.mark.parametrize(
    ("mesh", "accumulate"),
    [((1, 1, 1, 8), 4), ((2, 1, 1, 4), 2), ((1, 1, 2, 4), 2), ((1, 2, 1, 4), 2)],
)
@pytest.mark.usefixtures("x64")
def test_in_float64_every_mesh_is_one_device(mesh, accumulate, gate):
    fields = {"gate": gate, "dtype": "float64", "param_dtype": "float64"}
    _check(mesh, accumulate, fields, 1e-9)


@pytest.mark.soak
def test_in_float32_eight_devices_are_one():
    _check((1, 1, 1, 8), 1, {}, 1e-5)


@pytest.mark.soak
def test_a_device_needs_a_sixth_of_the_memory_at_131072_tokens():
    from benchmarks.shared_rows import bytes_of_a_device

    one, shared = (bytes_of_a_device("tiny", 131_072, devices) for devices in (1, 8))
    assert 6 * shared <= one


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"data": TextConfig(train="none.txt", seq_len=20)}, "config.data.seq_len, 20"),
        ({"stages": (StageConfig(step=1, seq_len=12),)}, "config.data.seq_len, 12"),
        ({"objectives": Objectives(uboo=UBOOConfig())}, "config.objectives.uboo"),
        ({"noise": NoiseConfig(alpha=5.0)}, "config.noise.alpha"),
        ({"optim": OptimConfig("sophia_g", warmup_steps=1)}, "optim.name 'sophia_g'"),
        ({"model": AttentionConfig()}, "model.family 'attention'"),
        ({"mesh": MeshConfig(2, 1, 2, 2)}, "config.mesh.data, fsdp and tensor"),
    ],
)
def test_what_needs_whole_rows_is_refused_by_field(change, field):
    config = _config((1, 1, 1, 8))
    fields = {name: getattr(config, name) for name in ("model", "data", "train", "mesh")}
    refused(lambda: make_mesh(Config(**{**fields, **change})), "config.mesh.sequence is ", field)
