"""Truncated backpropagation through time: each batch begins where the one before ended."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.train.step import make_train_step
from tests.small_step import RECORDER, TOKENIZER, assert_close, build, linear_model
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
    _, alone = _step(start, _half(whole, 1))
    assert abs(alone["loss"] - second["loss"]) > 1e-3
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


def test_the_gradient_is_that_of_the_half_alone_from_a_constant_state(start, whole, halves):
    (first, _), (second, _) = halves
    half = jax.tree.map(jnp.asarray, _half(whole, 1))

    def loss(trained, carried):
        params = {name: part for name, part in trained.items() if name != "objectives"}
        inputs = half["inputs"], carried, half["segment_ids"]
        continues = _MODEL.continues(half["segment_ids"], carried)
        own = trained["objectives"]["uboo"]
        probe = _OBJECTIVES["uboo"].probe(own, half, continues)
        output = _MODEL.apply(params, *inputs, probes={"uboo": probe})
        targets = np.arange(_ROWS)[:, None], np.arange(_HALF)[None], half["targets"]
        nll = -jax.nn.log_softmax(output.logits)[targets]
        output = output._replace(captured=output.captured["uboo"])
        uboo = _OBJECTIVES["uboo"].sums(own, output, half, continues, None)["loss"]
        total = jnp.sum(nll * half["weights"]) / half["weights"].sum()
        return total + 0.5 * uboo / jnp.sum(continues)

    trained = {**start.params, "objectives": start.objectives}
    assert_close(second.opt_state, jax.jit(jax.grad(loss))(trained, first.carried), 2e-5)


def test_microbatches_keep_the_state_of_their_rows(whole, halves):
    """`mesh_test.py` has them on several devices."""
    step = jax.jit(make_train_step(RECORDER, _OBJECTIVES, accumulate=2))
    (first, _), (expected, expected_metrics) = halves
    state, metrics = step(_MODEL, first, _half(whole, 1))
    assert_close(state.carried, expected.carried, 1e-5)
    assert_close(state.opt_state, expected.opt_state, 2e-5)
    for name in ("loss", "uboo", "tokens"):
        np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-5)
