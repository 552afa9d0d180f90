"""What every objective has to do, for any model that it accepts."""

import copy
import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.objectives.api import LOSS
from mmrec_jax.train.step import make_eval_step, make_train_step
from tests.small_step import RECORDER, TOKENIZER, assert_close, batch, build, mesh, on_mesh, start

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
    _assert_cut(made(1.0), model, whole, expected, metrics)
    _assert_weighted([gradient(number, whole)[0] for number in range(3)])
    _assert_nothing(*gradient(2, _nothing(whole)))
    _assert_counted_before(objectives[name], model, whole)
    _assert_positions({name: objectives[name]}, model, state.params, whole, metrics)


def _assert_cut(objectives, model, whole, expected, expected_metrics):
    """Two microbatches on two by two devices change nothing; a weight is a number or points."""
    state, step = on_mesh(mesh(data=2, fsdp=2), model, objectives, accumulate=2)
    after, metrics = step(model, state, whole)
    assert_close(after.opt_state, expected, 2e-5)
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-5, atol=1e-6)


def _assert_weighted(gradients):
    """Half the weight adds half as much."""
    none, half, one = gradients
    added = jax.tree.map(lambda x, y: x - y, one, none)
    assert max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(added)) > 1e-4
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
    rows = jax.tree.map(jnp.asarray, whole)

    def count(rows):
        return objective.count(model, drawn(objective, model, rows), None)

    program = jax.make_jaxpr(count)(rows)
    assert "dot_general" not in str(program)
    assert program.out_avals[0].shape == ()
    assert count(rows) > 1


def drawn(objective, model, rows, seed=0):
    """The batch with what an objective draws for it."""
    return rows | objective.draw(jax.random.key(seed), model, rows, None)


def _assert_positions(objectives, model, params, whole, metrics):
    """An evaluation's mean over a batch is what training reports of it."""
    (objective,) = objectives.values()
    step = jax.jit(make_eval_step(objectives))
    for name, (values, counted) in step(model, params, whole, None)[0]["means"].items():
        chex.assert_shape([values, counted], (8, 12))
        mean = np.sum(np.asarray(values, np.float64), where=np.asarray(counted)) / counted.sum()
        np.testing.assert_allclose(mean, metrics[name], rtol=1e-5)
    whole = jax.tree.map(jnp.asarray, whole)

    def sums(params):
        own = objective.init(jax.random.key(0), model)
        continues = model.continues(whole["segment_ids"], None)
        rows = drawn(objective, model, whole)
        probe = objective.probe(own, rows, continues)
        probes = {} if probe is None else {"its": probe}
        output = model.apply(params, whole["inputs"], probes=probes)
        output = output._replace(captured=output.captured.get("its", {}))
        return objective.sums(own, output, rows, continues, lambda ids: output)

    chex.assert_shape(jax.eval_shape(sums, params)[LOSS], ())
    assert TOKENIZER.vocab_size < model.config.vocab_size  # ids of padding, too
