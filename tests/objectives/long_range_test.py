"""LongCE by hand in float64, and on a model whose state is reset by reading it piece by piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.objectives.api import LOSS
from mmrec_jax.objectives.long_range import LongRange, LongRangeConfig, reset_segments
from mmrec_jax.train.step import make_train_step
from tests.models.gru import GRUConfig
from tests.models.mmrec.loops import relative_error
from tests.small_step import (
    RECORDER,
    VOCABULARY,
    assert_close,
    batch,
    build,
    logits_output,
    start,
)

_EVERY, _CAP = 3, 2.0
_GRU = GRUConfig(VOCABULARY, 8).build()


def _by_hand(logits, short, targets, weights):
    """Value, gradient, sum of the factors and of the gain, float64, token by token."""
    value = factors = gains = 0.0
    gradient = np.zeros(logits.shape)
    for b, t in np.argwhere(weights > 0):
        p, q = (np.exp(x[b, t]) / np.exp(x[b, t]).sum() for x in (logits, short))
        w, y = weights[b, t], targets[b, t]
        factor = min(p[y] / q[y], _CAP)
        value -= w * factor * np.log(p[y])
        factors += w * factor
        gains += w * np.log(p[y] / q[y])
        gradient[b, t] = w * factor * (p - np.eye(len(p))[y])
    return value, gradient, factors, gains


def test_value_and_gradient_are_those_of_the_definition(rng):
    logits, short = rng.normal(size=(2, 3, 12, 7)) * 2
    targets = rng.integers(0, 7, (3, 12))
    weights = rng.choice([0.0, 1.0, 0.25], (3, 12))
    rows = {"targets": targets, "weights": weights, "segment_ids": np.ones((3, 12), int)}
    rows = jax.tree.map(jnp.asarray, rows)
    objective = LongRange(LongRangeConfig(reset_every=_EVERY, cap=_CAP))

    def sums(logits, short):
        def reread(ids):
            return logits_output(short)

        output = logits_output(logits)
        return objective.sums({}, output, rows, jnp.ones((3, 12), bool), reread)

    inputs = jnp.float32(logits), jnp.float32(short)
    gradient, found = jax.grad(lambda x, s: (sums(x, s)[LOSS], sums(x, s)), has_aux=True)(*inputs)
    value, expected, factors, gains = _by_hand(logits, short, targets, weights)
    assert relative_error(found[LOSS], value) <= 1e-5
    assert relative_error(found["weight"], factors) <= 1e-5
    assert relative_error(found["gain"], gains) <= 1e-5
    assert relative_error(gradient, expected) <= 1e-5


def test_documents_end_where_they_did_and_every_so_many_tokens():
    ids = np.array([[5, 5, 5, 5, 2, 2, 2, 0], [1, 0, 0, 1, 1, 1, 3, 3]], np.int32)
    continues = np.array([[1, 1, 1, 1, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 0, 1]], bool)
    found = np.asarray(reset_segments(ids, continues, 3))
    for row, (before, after) in enumerate(zip(ids, found, strict=True)):
        np.testing.assert_array_equal(after > 0, before > 0)
        for i, j in np.ndindex(8, 8):
            if i < j and before[i] and before[j]:
                same = before[i] == before[j] and i // 3 == j // 3
                assert (after[i] == after[j]) == same, (row, i, j)


def test_a_step_resets_the_state_and_takes_the_short_pass_as_constant():
    objectives = build(_GRU, long_range=LongRangeConfig(reset_every=_EVERY, cap=_CAP))
    rows = jax.tree.map(jnp.asarray, batch())
    pieces = np.asarray(rows["segment_ids"]) * 4 + np.arange(12)[None] // _EVERY

    def nll(params, ids):
        log_p = jax.nn.log_softmax(_GRU.apply(params, rows["inputs"], None, ids).logits)
        return -jnp.take_along_axis(log_p, rows["targets"][..., None], axis=-1)[..., 0]

    def by_hand(params):
        short = nll(params, jnp.where(rows["segment_ids"] > 0, pieces, 0))
        full = nll(params, rows["segment_ids"])
        factor = jax.lax.stop_gradient(jnp.minimum(jnp.exp(short - full), _CAP))
        return jnp.sum(rows["weights"] * (1 + factor) * full) / jnp.sum(rows["weights"])

    state = jax.jit(lambda: start(_GRU, objectives))()
    after, metrics = jax.jit(make_train_step(RECORDER, objectives))(_GRU, state, batch())
    value, gradient = jax.jit(jax.value_and_grad(by_hand))(state.params)
    assert_close(after.opt_state, gradient, 1e-5)
    np.testing.assert_allclose(metrics["loss"] + metrics["long_range"], value, rtol=1e-5)
    assert 0.5 < float(metrics["long_range_weight"]) < _CAP


def test_rows_in_which_nothing_is_reset_are_refused():
    objective = LongRangeConfig(reset_every=12).build(_GRU, None)
    with pytest.raises(UserError, match=r"objectives\.long_range\.reset_every is 12"):
        objective.count(_GRU, batch(), None)
