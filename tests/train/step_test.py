import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.objectives.api import LOSS
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import make_eval_step, make_train_step
from tests.small_step import LENGTHS, RECORDER, assert_close, batch, build, linear_model, start

_STILL = optax.sgd(0.0)
_WEIGHTS = {"cross_entropy": 1.0, "vowel_harmony": 0.7, "uboo": 0.5}


def _objectives(model, **uboo):
    harmony = VowelHarmonyConfig(weight=_WEIGHTS["vowel_harmony"])
    return build(model, vowel_harmony=harmony, uboo=UBOOConfig(weight=_WEIGHTS["uboo"], **uboo))


@functools.cache
def _begun():
    model = linear_model()
    return jax.jit(lambda: start(model, _objectives(model)))()


def _gradient(**uboo):
    model = linear_model()
    step = jax.jit(make_train_step(RECORDER, _objectives(model, **uboo)))
    after, metrics = step(model, _begun(), batch())
    return after.opt_state, metrics


@functools.cache
def _by_hand():
    """Each mean over the whole batch, written out, and its gradient."""
    model, rows = linear_model(), jax.tree.map(jnp.asarray, batch())
    objectives = _objectives(model)

    def means(trained):
        own = trained["objectives"]
        params = {name: part for name, part in trained.items() if name != "objectives"}
        output = model.apply(
            params, rows["inputs"], None, rows["segment_ids"], capture=("recurrence",)
        )
        log_p = jax.nn.log_softmax(output.logits)
        nll = -jnp.take_along_axis(log_p, rows["targets"][..., None], axis=-1)[..., 0]
        vowels = objectives["vowel_harmony"]
        harmony = vowels.sums({}, output, rows, None, None)[LOSS]
        h = output.captured["recurrence"]["blocks"]["h"]
        n = h * jax.lax.rsqrt(jnp.mean(jnp.square(h), axis=-1, keepdims=True) + 1e-6)
        after = jax.lax.stop_gradient(n[:, :, 1:])
        error = jnp.einsum("lbte,lef->lbtf", n[:, :, :-1], own["uboo"]["kernel"]) - after
        ids = rows["segment_ids"]
        same = (ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] > 0)
        each = jnp.mean(jnp.square(error), axis=(0, 3))
        return {
            "cross_entropy": jnp.sum(nll * rows["weights"]) / np.sum(rows["weights"]),
            "vowel_harmony": harmony / vowels.count(model, rows, None),
            "uboo": jnp.sum(each * same) / np.sum(same),
        }

    @jax.jit
    def found(state):
        values, pullback = jax.vjp(means, {**state.params, "objectives": state.objectives})
        zeros = dict.fromkeys(values, jnp.zeros(()))
        return values, {name: pullback({**zeros, name: jnp.ones(())})[0] for name in values}

    return found(_begun())


def test_the_gradient_is_that_of_the_weighted_sum_of_all_means():
    values, gradients = _by_hand()
    gradient, metrics = _gradient()
    parts = [jax.tree.map(lambda g, w=_WEIGHTS[name]: w * g, gradients[name]) for name in _WEIGHTS]
    expected = jax.tree.map(lambda *each: sum(each), *parts)
    assert_close(gradient, expected, 1e-5)
    for name, value in values.items():
        assert 0.01 < float(value)
        name = {"cross_entropy": "loss"}.get(name, name)
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(expected), rtol=1e-5)
    assert int(metrics["tokens"]) == sum(LENGTHS)


def _inner(x, y):
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return sum(np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs)


def test_an_orthogonal_objective_leaves_the_component_along_the_others_alone():
    _, gradients = _by_hand()
    names = ("cross_entropy", "vowel_harmony")
    main = jax.tree.map(lambda a, b: a + _WEIGHTS[names[1]] * b, *(gradients[n] for n in names))
    side = jax.tree.map(lambda g: _WEIGHTS["uboo"] * g, gradients["uboo"])
    total, _ = _gradient(orthogonal=True)
    share = _inner(side, main) / _inner(main, main)
    assert abs(share) > 1e-3  # there is something to remove
    added = jax.tree.map(jnp.subtract, total, main)
    assert abs(_inner(added, main)) < 1e-4 * abs(_inner(side, main))
    expected = jax.tree.map(lambda m, a: m + a - np.float32(share) * m, main, side)
    assert_close(total, expected, 1e-4)


def test_gradients_are_taken_apart_in_float32_where_float64_is_switched_on():
    model = linear_model()
    objectives = _objectives(model, orthogonal=True)
    with jax.enable_x64(True):
        state = jax.eval_shape(lambda: start(model, objectives))
        jax.eval_shape(make_train_step(RECORDER, objectives), model, state, batch())


def test_without_cross_entropy_the_loss_is_what_is_minimised():
    model = linear_model()
    objectives = {"uboo": _objectives(model)["uboo"]}
    _, metrics = jax.jit(make_train_step(RECORDER, objectives))(model, _begun(), batch())
    np.testing.assert_allclose(metrics["loss"], 0.5 * metrics["uboo"], rtol=1e-6)


def test_the_norm_is_that_before_clipping():
    model = linear_model()
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    state = jax.jit(lambda: start(model, build(model), clipped))()
    after, metrics = jax.jit(make_train_step(clipped, build(model)))(model, state, batch())
    change = jax.tree.map(jnp.subtract, state.params, after.params)
    assert float(metrics["grad_norm"]) > 0.1
    np.testing.assert_allclose(optax.tree.norm(change), 1e-3, rtol=1e-3)
    assert int(after.step) == 1


@functools.cache
def _wet(accumulate):
    model = linear_model(dropout=0.5)
    return model, jax.jit(make_train_step(_STILL, build(model), accumulate))


@functools.cache
def _wet_state():
    model = linear_model(dropout=0.5)
    return jax.jit(lambda: start(model, build(model), _STILL))()


def _dropout_losses(accumulate, rows, steps, state=None):
    """Losses of steps that change nothing but the step's number, on equal rows."""
    model, step = _wet(accumulate)
    state = state or _wet_state()
    same = {name: np.repeat(x, rows, axis=0) for name, x in batch((12,)).items()}
    losses = []
    for _ in range(steps):
        state, metrics = step(model, state, same)
        losses.append(float(metrics["loss"]))
    return losses, state


def test_dropout_differs_between_steps_and_is_the_same_from_the_same_state():
    losses, _ = _dropout_losses(1, 1, 3)
    assert len(set(losses)) == 3
    first, state = _dropout_losses(1, 1, 1)
    saved = jax.tree.map(np.asarray, dataclasses.asdict(state))  # what a checkpoint holds
    again = TrainState(**{**saved, "opt_state": state.opt_state})
    rest, _ = _dropout_losses(1, 1, 2, again)
    assert first + rest == losses


def test_dropout_differs_between_microbatches():
    alone, _ = _dropout_losses(1, 1, 1)
    twice, _ = _dropout_losses(2, 2, 1)  # the same row in two microbatches
    assert alone != twice


@pytest.mark.parametrize("half", [False, True])
def test_evaluation_predicts_every_token_without_dropout(half):
    """Also where it goes on from a state."""
    model, rows = linear_model(dropout=0.5), batch()
    params = _wet_state().params
    inputs = rows["inputs"], None, rows["segment_ids"]
    output = jax.jit(model.apply)(params, *inputs)
    log_p = np.asarray(jax.nn.log_softmax(output.logits), np.float64)
    step = jax.jit(make_eval_step())
    parts, state = [], None
    for now in (np.s_[:, :6], np.s_[:, 6:]) if half else (np.s_[:],):
        found, state = step(model, params, {name: x[now] for name, x in rows.items()}, state)
        assert found["means"] == {}
        parts.append(found)
    nll, right = (np.concatenate([p[name] for p in parts], axis=1) for name in ("nll", "right"))
    for b, n in enumerate(LENGTHS):
        picked = [-log_p[b, t, rows["targets"][b, t]] for t in range(n)]
        np.testing.assert_allclose(nll[b, :n], picked, rtol=1e-5)
        np.testing.assert_array_equal(
            right[b, :n], np.argmax(log_p[b, :n], axis=-1) == rows["targets"][b, :n]
        )
    assert_close(state, output.state, 1e-5)
