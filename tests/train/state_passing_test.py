"""A share of the rows begins from the states that the batch before left behind."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.train.mesh import replicated, shard_batch, state_shardings
from mmrec_jax.train.step import make_train_step
from tests.small_step import (
    LENGTHS,
    RECORDER,
    assert_close,
    batch,
    build,
    linear_model,
    mesh,
    start,
)

_ROWS = len(LENGTHS)
_MODEL = linear_model()
_OBJECTIVES = build(_MODEL)
_STATE = functools.partial(start, _MODEL, _OBJECTIVES, rows=_ROWS)
_STEPS = 3


def _share(step):
    """None in the first step, half after it, all in the last."""
    return 0.5 * step


def _chosen(state):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    return jax.random.bernoulli(jax.random.fold_in(key, 2**32 - 4), _share(state.step), (_ROWS,))


@pytest.fixture(scope="module")
def by_hand():
    """Gradients, and the last states, of three steps of one row after the other."""

    def nll(params, before, row):
        output = _MODEL.apply(params, row["inputs"], before, row["segment_ids"])
        logp = jax.nn.log_softmax(output.logits)
        picked = jnp.take_along_axis(logp, row["targets"][..., None], -1)[..., 0]
        return -jnp.sum(picked * row["weights"]), output.state

    program = jax.jit(jax.grad(nll, has_aux=True))
    state = jax.jit(_STATE)()
    left, gradients, passed = [None] * _ROWS, [], []
    for number in range(_STEPS):
        rows = batch(seed=number)
        chosen = np.asarray(_chosen(dataclasses.replace(state, step=jnp.int32(number))))
        total = jax.tree.map(jnp.zeros_like, state.params)
        for index in range(_ROWS):
            row = {name: x[index : index + 1] for name, x in rows.items()}
            before = _MODEL.initial_state(1)
            if chosen[index] and number:
                # The row and what the state has read are one document.
                row["segment_ids"] = np.int32(7 * (row["segment_ids"] > 0))
                before = dataclasses.replace(left[index], segment=jnp.full(1, 7, jnp.int32))
            gradient, left[index] = program(state.params, before, row)
            total = jax.tree.map(jnp.add, total, gradient)
        weight = rows["weights"].sum()
        gradients.append(jax.tree.map(functools.partial(jnp.multiply, 1 / weight), total))
        passed.append(chosen.mean())
    assert passed[0] == 0 < passed[1] < 1 == passed[2]
    join = jax.tree.map(
        lambda axis, *each: jnp.concatenate(each, axis), *[_MODEL.state_batch_axes, *left]
    )
    return gradients, join


def test_steps_in_microbatches_on_a_mesh_are_those_of_a_loop_over_rows(by_hand):
    devices = mesh(data=2)
    shardings = state_shardings(jax.eval_shape(_STATE), _MODEL, devices)
    step = make_train_step(RECORDER, _OBJECTIVES, 2, _share)
    program = jax.jit(step, out_shardings=(shardings, replicated(devices)))
    state = jax.jit(_STATE, out_shardings=shardings)()
    gradients, left = by_hand
    for number, expected in enumerate(gradients):
        state, _ = program(_MODEL, state, shard_batch(batch(seed=number), devices))
        assert_close(state.opt_state, expected, 2e-5)
    for name in ("h", "m", "position"):
        assert_close(getattr(state.carried, name), getattr(left, name), 1e-5)
