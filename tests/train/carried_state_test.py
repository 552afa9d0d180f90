"""Truncated backpropagation through time: each batch begins where the one before ended."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.errors import UserError
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.train.loop import run
from mmrec_jax.train.mesh import abstract_on, place_batch, replicated, state_shardings
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.state import from_items, initial_state, to_items
from mmrec_jax.train.step import make_train_step
from tests.small_run import linear_config
from tests.small_step import RECORDER, TOKENIZER, assert_close, build, linear_model, mesh
from tests.small_step import start as start_of

_ROWS, _HALF = 8, 6
# The gate that compiles fastest: what crosses a border is the same.
_MODEL = linear_model(gate="input", gate_init_scale=1.0, memory="delta")
_OBJECTIVES = build(_MODEL, uboo=UBOOConfig(weight=0.5))
# One document over both halves; a border inside each half; a border between them; padding.
_SEGMENTS = np.int32(
    [
        [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
        [1, 1, 2, 2, 2, 2, 2, 2, 2, 5, 5, 5],
        [4, 4, 4, 4, 4, 4, 7, 7, 7, 7, 7, 7],
        [6, 6, 6, 6, 0, 0, 6, 6, 8, 8, 0, 0],
    ]
    * 2
)


@pytest.fixture(scope="module")
def whole():
    """Rows of both halves."""
    rng = np.random.default_rng(0)
    shape, real = _SEGMENTS.shape, _SEGMENTS > 0
    tokens = {
        name: rng.integers(0, TOKENIZER.vocab_size, shape) * real for name in ("inputs", "targets")
    }
    weights = rng.choice([0.0, 0.5, 2.0], shape) * real
    batch = {name: x.astype(np.int32) for name, x in tokens.items()}
    return batch | {"segment_ids": _SEGMENTS, "weights": weights.astype(np.float32)}


def _half(batch, number):
    return {name: x[:, number * _HALF : (number + 1) * _HALF] for name, x in batch.items()}


@pytest.fixture(scope="module")
def start():
    """Every parameter moved off its special initial value."""
    return jax.jit(lambda: start_of(_MODEL, _OBJECTIVES, rows=_ROWS))()


@functools.cache
def _program():
    return jax.jit(make_train_step(RECORDER, _OBJECTIVES))


def _step(state, batch):
    return _program()(_MODEL, state, batch)


@pytest.fixture(scope="module")
def halves(start, whole):
    """The states and metrics after the first and the second half."""
    first, first_metrics = _step(start, _half(whole, 0))
    second, second_metrics = _step(first, _half(whole, 1))
    return (first, first_metrics), (second, second_metrics)


def test_two_halves_have_the_loss_and_the_state_of_the_whole(start, whole, halves):
    last, metrics = _step(start, whole)
    (_, first), (second_state, second) = halves
    weights = [_half(whole, number)["weights"].sum() for number in (0, 1)]
    loss = np.average([first["loss"], second["loss"]], weights=weights)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    assert abs(first["loss"] - second["loss"]) > 1e-3
    assert_close(second_state.carried, last.carried, 1e-5)
    assert second_state.carried.segment.tolist() == [3, 5, 7, 8] * 2
    assert second_state.carried.position.tolist() == [12, 3, 6, 2] * 2
    # Tokens whose predecessor is in the same document, the border between the halves included.
    same = np.zeros(_SEGMENTS.shape, bool)
    for row, ids in enumerate(_SEGMENTS):
        previous = 0
        for t, segment in enumerate(ids):
            same[row, t] = segment > 0 and segment == previous
            previous = segment or previous
    counts = [same[:, :_HALF].sum(), same[:, _HALF:].sum()]
    uboo = np.average([first["uboo"], second["uboo"]], weights=counts)
    np.testing.assert_allclose(metrics["uboo"], uboo, rtol=1e-5)


def test_without_the_state_the_second_half_has_another_loss(start, whole, halves):
    _, alone = _step(start, _half(whole, 1))
    assert abs(alone["loss"] - halves[1][1]["loss"]) > 1e-3


def test_the_gradient_is_that_of_the_half_alone_from_a_constant_state(start, whole, halves):
    (first, _), (second, _) = halves
    before, half = (jax.tree.map(jnp.asarray, _half(whole, number)) for number in (0, 1))

    def loss(trained, carried):
        params = {name: part for name, part in trained.items() if name != "objectives"}
        inputs = half["inputs"], carried, half["segment_ids"]
        output = _MODEL.apply(params, *inputs, capture=("states",))
        targets = np.arange(_ROWS)[:, None], np.arange(_HALF)[None], half["targets"]
        nll = -jax.nn.log_softmax(output.logits)[targets]
        continues = _MODEL.continues(half["segment_ids"], carried)
        own = trained["objectives"]["uboo"]
        uboo = _OBJECTIVES["uboo"].sums(own, output, half, continues)["loss"]
        total = jnp.sum(nll * half["weights"]) / half["weights"].sum()
        return total + 0.5 * uboo / jnp.sum(continues)

    def through_the_border(trained):
        params = {name: part for name, part in trained.items() if name != "objectives"}
        return loss(trained, _MODEL.apply(params, before["inputs"], None, before["segment_ids"])[1])

    @jax.jit
    def gradients(trained):
        return jax.grad(loss)(trained, first.carried), jax.grad(through_the_border)(trained)

    expected, through = gradients({**start.params, "objectives": start.objectives})
    assert_close(second.opt_state, expected, 2e-5)
    difference = optax.tree.norm(jax.tree.map(jnp.subtract, through, expected))
    assert difference > 0.01 * optax.tree.norm(expected)


def _assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_microbatches_and_devices_keep_the_state_of_their_rows(start, whole, halves):
    devices = mesh(2, 2, 2)
    shardings = state_shardings(start, _MODEL, devices)
    step = make_train_step(RECORDER, _OBJECTIVES, accumulate=2)
    step = jax.jit(step, out_shardings=(shardings, replicated(devices)))
    state = jax.device_put(start, shardings)
    for number, (expected, expected_metrics) in enumerate(halves):
        state, metrics = step(_MODEL, state, place_batch(_half(whole, number), devices))
        assert_close(state.carried, expected.carried, 1e-5)
        assert_close(state.opt_state, expected.opt_state, 2e-5)
        for name in ("loss", "uboo", "tokens"):
            np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-5)
        assert {shard.data.shape[1] for shard in state.carried.m.addressable_shards} == {2}


def test_what_goes_on_from_a_checkpoint_is_what_was_not_interrupted(tmp_path, whole, halves):
    (state, _), (expected, _) = halves
    checkpointer = Checkpointer(tmp_path)
    meta = {"config": {}, "tokenizer": "ab", "validation": None}
    checkpointer.save(1, to_items(state), data={}, meta=meta, validation_loss=None)
    checkpointer.wait()
    for devices in (mesh(2, 2, 1), mesh()):
        shardings = state_shardings(state, _MODEL, devices)
        abstract = abstract_on(state, shardings)
        restored = from_items(checkpointer.restore(1, to_items(abstract))[0], abstract)
        assert restored.carried.h.sharding == shardings.carried.h
        assert np.any(restored.carried.m)
        _assert_same(restored, state)
    checkpointer.close()
    _assert_same(_step(restored, _half(whole, 1))[0], expected)


_RUN = {
    "train__carry_state": True,
    "train__accumulate": 2,
    "train__steps": 6,
    "train__eval_every": 6,
    "train__checkpoint_every": 2,
    "train__sample_tokens": 0,
    "optim__schedule": "constant",
}
_TIMED = ("tokens_per_second", "flop_utilisation", "input_wait")


def _metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    lines = [line for line in lines if line["split"] == "train"]
    return [{name: x for name, x in line.items() if name not in _TIMED} for line in lines]


def test_a_run_in_two_sessions_is_the_run_in_one(text, tmp_path):
    """The schedule is constant, so a run may stop early and be made longer."""
    folders = [tmp_path / "whole", tmp_path / "parts"]
    config = linear_config(text, **_RUN)
    assert run(config, folders[0]) == 0
    assert run(linear_config(text, **{**_RUN, "train__steps": 4}), folders[1]) == 0
    assert run(config, folders[1]) == 0
    assert _metrics(folders[0]) == _metrics(folders[1])
    states = [set_up(config, folder, fresh=False).state for folder in folders]
    assert np.any(states[0].carried.h)
    _assert_same(*states)


def test_a_run_does_not_change_its_mind(text, tmp_path):
    run(linear_config(text, **{**_RUN, "train__steps": 2}), tmp_path)
    without = linear_config(text, **{**_RUN, "train__carry_state": False})
    with pytest.raises(UserError, match=r"config\.train\.carry_state"):
        run(without, tmp_path)


def test_nothing_is_carried_unless_asked_for():
    state = jax.eval_shape(lambda: initial_state(_MODEL, _OBJECTIVES, RECORDER, 0))
    assert state.carried is None
