"""The contrastive objective by hand in float64, and what is drawn for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.objectives.api import LOSS
from mmrec_jax.objectives.sequence import Sequence, SequenceConfig
from tests.models.mmrec.loops import relative_error, slope
from tests.small_step import batch, linear_model, logits_output

_MODEL = linear_model()
_OBJECTIVE = Sequence(SequenceConfig(prefixes=4, tokens=2, negatives=3))
_draw = jax.jit(lambda key, rows: _OBJECTIVE.draw(key, _MODEL, rows, None))


def _by_hand(logits, kernel, drawn):
    """Sum over the prefixes, how many there are, and how many score their own highest."""
    total = count = right = 0
    for b, p in np.ndindex(drawn["prefix"].shape):
        valid = drawn["valid"][b, p]
        if not valid[0] or not valid[1:].any():
            continue
        x = logits[b, drawn["prefix"][b, p]]
        x = x + x @ kernel
        scores = [np.mean(x[c]) for c, v in zip(drawn["candidates"][b, p], valid, strict=True) if v]
        total -= np.log(np.exp(scores[0]) / np.sum(np.exp(scores)))
        count, right = count + 1, right + (scores[0] == max(scores))
    return total, count, right


def test_value_and_gradient_are_those_of_the_definition(x64, rng):
    rows = batch()
    drawn = jax.device_get(_draw(jax.random.key(1), rows))
    inputs = rng.normal(size=(8, 12, 20)) * 3, rng.normal(size=(20, 20)) / 4

    @jax.jit
    def sums(logits, kernel):
        given = jax.tree.map(jnp.asarray, rows | drawn)
        return _OBJECTIVE.sums({"kernel": kernel}, logits_output(logits), given, None, None)

    total, count, right = _by_hand(*inputs, drawn)
    found = sums(*inputs)
    assert relative_error(found[LOSS], total) <= 1e-10
    assert (found["right"], _OBJECTIVE.count(_MODEL, rows | drawn, None)) == (right, count)
    gradients = jax.jit(jax.grad(lambda *x: sums(*x)[LOSS], argnums=(0, 1)))(*inputs)
    for i, gradient in enumerate(gradients):
        move = rng.normal(size=inputs[i].shape)
        expected = slope(lambda *x: _by_hand(*x, drawn)[0], inputs, i, move)
        assert relative_error(np.sum(gradient * move), expected) <= 1e-6


def test_candidates_are_what_follows_and_what_follows_elsewhere():
    rows, ends = batch(), set()
    inputs, ids = rows["inputs"], rows["segment_ids"]
    for seed in range(20):
        drawn = jax.device_get(_draw(jax.random.key(seed), rows))
        own, valid = drawn["candidates"][:, :, 0], drawn["valid"]
        for b, p in np.ndindex(8, 4):
            t = drawn["prefix"][b, p]
            assert valid[b, p, 0] == (len(set(ids[b, t : t + 3])) == 1 and ids[b, t] > 0)
            np.testing.assert_array_equal(own[b, p], inputs[b, t + 1 : t + 3])
            if valid[b, p, 0]:
                ends.add((b, int(t)))
        rows_of = [
            next(r for r in range(8) if (own[(r + np.arange(8)) % 8] == others).all())
            for others in drawn["candidates"][:, :, 1:].transpose(2, 0, 1, 3)
        ]
        assert len(set(rows_of)) == 3  # of three other rows, the same step away from each
        assert 0 not in rows_of
    # All that have a continuation: documents of rows of 12 tokens end at 6, of one of 7 at 3.
    assert ends == {(b, t) for b in (0, 3, 5) for t in (0, 1, 2, 3, 6, 7, 8, 9)} | {
        (7, 0), (7, 3), (7, 4)
    }  # fmt: skip


@pytest.mark.parametrize(("lengths", "width"), [((12,), 12), ((2, 2), 2)])
def test_a_batch_without_what_it_needs_is_refused(lengths, width):
    objective = SequenceConfig(tokens=2).build(_MODEL, None)
    with pytest.raises(UserError, match=r"config\.objectives\.sequence"):
        objective.draw(jax.random.key(0), _MODEL, batch(lengths, width), None)
