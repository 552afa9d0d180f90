"""What every objective has to do, for any model that it accepts."""

import copy
import dataclasses

import chex
import jax
import numpy as np

from mmrec_jax.train.mesh import replicated, shard_batch, state_shardings
from mmrec_jax.train.step import make_eval_step, make_train_step
from tests.small_step import RECORDER, TOKENIZER, assert_close, batch, build, mesh, start

_POINTS = ((0, 0.0), (4, 2.0))


def assert_objective(config, model):
    """Asserts the contract of `objectives/api.py` of the objective of a config.

    It is built beside the cross-entropy, and its weight is given by points that are 1 at step 2.
    """
    name = type(config).group.rpartition(".")[2]

    def made(weight):
        return build(model, **{name: dataclasses.replace(config, weight=weight)})

    objectives, whole = made(_POINTS), batch()
    state = jax.jit(lambda: start(model, objectives))()

    @jax.jit
    def step(state, rows, number):
        """What is drawn is that of the first step, whatever the number for the weight."""
        timed = copy.copy(objectives[name])
        object.__setattr__(timed, "weight", lambda _: objectives[name].weight(number))
        return make_train_step(RECORDER, {**objectives, name: timed})(model, state, rows)

    def gradient(number, rows):
        after, metrics = step(state, rows, np.int32(number))
        return after.opt_state, metrics

    expected, metrics = gradient(2, whole)
    assert float(metrics["grad_norm"]) > 0
    _assert_cut(made(1.0), model, state, whole, expected, metrics)
    _assert_weighted([gradient(number, whole)[0] for number in range(3)])
    _assert_nothing(*gradient(2, _nothing(whole)))
    _assert_counted_before(objectives[name], model, whole)
    _assert_positions({name: objectives[name]}, model, state.params, whole, metrics)


def _assert_cut(objectives, model, state, whole, expected, expected_metrics):
    """Two microbatches on two by two devices change nothing; a weight is a number or points."""
    devices, step = mesh(data=2, fsdp=2), make_train_step(RECORDER, objectives, 2)
    shardings = state_shardings(state, model, devices)
    program = jax.jit(step, out_shardings=(shardings, replicated(devices)))
    placed = jax.device_put(state, shardings), shard_batch(whole, devices)
    after, metrics = program(model, *placed)
    assert_close(after.opt_state, expected, 2e-5)
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-5, atol=1e-6)


def _assert_weighted(gradients):
    """Half the weight adds half as much."""
    none, half, one = jax.device_get(gradients)
    added = jax.tree.map(lambda x, y: x - y, one, none)
    assert max(float(np.max(np.abs(x))) for x in jax.tree.leaves(added)) > 1e-4
    assert_close(jax.tree.map(lambda x, y: 2 * (x - y), half, none), added, 1e-3)


def _nothing(whole):
    """No token has weight, and each is a document of its own."""
    ids = np.broadcast_to(1 + np.arange(12, dtype=np.int32), (8, 12))
    return whole | {"segment_ids": ids, "weights": np.zeros((8, 12), np.float32)}


def _assert_nothing(gradient, metrics):
    chex.assert_tree_all_finite(metrics)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    assert float(metrics["loss"]) == 0


def _assert_counted_before(objective, model, whole):
    """The count needs neither parameters nor a product with them."""

    def count(rows):
        drawn = objective.draw(jax.random.key(0), model, rows, None)
        return objective.count(model, rows | drawn, None)

    program = jax.jit(count).trace(whole)
    assert "dot_general" not in str(program.jaxpr)
    assert program.out_info.shape == ()
    assert program.lower().compile()(whole) > 1


def _assert_positions(objectives, model, params, whole, metrics):
    """An evaluation's mean over a batch is what training reports of it, if it has one."""
    assert TOKENIZER.vocab_size < model.config.vocab_size  # ids of padding, too
    step = jax.jit(make_eval_step(objectives))
    inputs = model, params, whole, None
    if not jax.eval_shape(step, *inputs)[0]["means"]:
        return
    for name, (values, counted) in step(*inputs)[0]["means"].items():
        chex.assert_shape([values, counted], (8, 12))
        mean = np.sum(np.asarray(values, np.float64), where=np.asarray(counted)) / counted.sum()
        np.testing.assert_allclose(mean, metrics[name], rtol=1e-5)
