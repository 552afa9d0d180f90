"""Reading the long-term memory back, by loops in float64, and what is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.api import Probe
from mmrec_jax.models.mmrec.memory import Told, recall
from mmrec_jax.objectives.api import LOSS
from mmrec_jax.objectives.memory_consistency import MemoryConsistency, MemoryConsistencyConfig
from tests.families import small
from tests.models.mmrec.loops import relative_error, sigmoid, slope
from tests.small_step import batch, linear_model, logits_output

LAYERS, BATCH, LENGTH, HEADS, SLOTS, WIDTH = 2, 2, 9, 2, 3, 4
_RESET = np.zeros((LAYERS, BATCH, LENGTH), bool)
_RESET[:, 0, 4] = _RESET[:, 1, 0] = True


def _read(earlier, k, v, alpha, beta, m0, reset, error_correction=True, held=None):
    """M_t^T k_s and v_s: the definition; `held` are the values inside the memories."""
    reads, targets = np.zeros(v.shape), np.zeros(v.shape)
    held = v if held is None else held
    for where in np.ndindex(*v.shape[:2], v.shape[3]):
        layer, b, head = where
        m = m0[where]
        for t in range(v.shape[2]):
            at = layer, b, t, head
            m = alpha[at] * (0 if reset[layer, b, t] else 1) * m
            value = held[at] - (m.T @ k[at] if error_correction else 0)
            m = m + beta[at] * np.outer(k[at], value)
            asked = layer, b, earlier[b, t], head
            reads[at], targets[at] = m.T @ k[asked], v[asked]
    return reads, targets


@pytest.fixture
def written(rng):
    k = rng.normal(size=(LAYERS, BATCH, LENGTH, HEADS, SLOTS))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    v = rng.normal(size=(LAYERS, BATCH, LENGTH, HEADS, WIDTH))
    alpha, beta = rng.uniform(0.5, 1, (2, *k.shape[:-1]))
    return k, v, alpha, beta, rng.normal(size=(LAYERS, BATCH, HEADS, SLOTS, WIDTH))


_ASKED = np.array([[0, 1, 1, 1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 0, 0]], bool)
_EARLIER = np.array([[0, 0, 1, 0, 4, 4, 4, 6, 5], [0, 0, 0, 2, 3, 1, 4, 7, 8]])


@pytest.mark.parametrize("error_correction", [True, False])
def test_value_and_gradient_are_those_of_the_definition(x64, rng, written, error_correction):
    """By central differences, with the values held."""

    def by_hand(k, v, alpha, beta, m0):
        reads, _ = _read(_EARLIER, k, written[1], alpha, beta, m0, _RESET, error_correction)
        _, values = _read(_EARLIER, k, written[1], alpha, beta, m0, _RESET)
        return np.sum((reads - values)[:, _ASKED] ** 2) / LAYERS / HEADS

    objective = MemoryConsistency(MemoryConsistencyConfig(reach=9))

    @jax.jit
    def loss(k, v, alpha, beta, m0):
        """In parts of four tokens, each of which knows those before that are asked for."""
        back = jnp.asarray(np.where(_ASKED, np.arange(LENGTH) - _EARLIER, 0))
        probe = objective.probe({}, {"back": back}, None)

        def layer(k, v, alpha, beta, reset, m):
            shape, sums = (BATCH, probe.reach, HEADS), []
            told = Told(m, jnp.zeros((*shape, SLOTS)), jnp.zeros((*shape, WIDTH)))
            for part in (slice(0, 4), slice(4, 8), slice(8, 9)):
                written = (x[:, part] for x in (back, k, v, alpha, beta, reset))
                options = {"chunk": 3, "error_correction": error_correction}
                inside, told = recall(told, *written, **options)
                sums.append(probe.sums({}, inside, {"back": back[:, part]}))
            return jax.tree.map(lambda *parts: sum(parts), *sums)

        found = jax.vmap(layer)(k, v, alpha, beta, jnp.asarray(_RESET), m0)
        output = logits_output(jnp.zeros((BATCH, LENGTH, 3)), **found)
        return objective.sums({}, output, {}, None, None)[LOSS]

    arrays = [jnp.asarray(x) for x in written]
    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=range(5)))(*arrays)
    assert relative_error(value, by_hand(*written)) <= 1e-10
    assert not np.any(gradients[1])
    for i, gradient in enumerate(gradients):
        move = rng.normal(size=written[i].shape)
        expected = slope(by_hand, written, i, move)
        assert relative_error(np.sum(gradient * move), expected) <= 1e-6


@pytest.mark.parametrize("time_chunk", [None, 8])
def test_a_model_is_asked_what_its_memories_were_told(time_chunk):
    """From a carried state, across two documents, padding behind."""
    fields = {"scan": "sequential"} if time_chunk is None else {"time_chunk": time_chunk}
    model, params = small("mmrec", vocab_size=20, **fields)
    rng = np.random.default_rng(0)
    tokens, ids = rng.integers(0, 20, (2, 11)), np.ones((2, 11), int)
    ids[0, 6:], ids[1, 9:] = 2, 0
    earlier = np.maximum(np.arange(11)[None] - rng.integers(0, 3, (2, 11)), 0)
    back = jnp.asarray(np.arange(11)[None] - earlier)

    def keep(params, inside, rows):
        """Each token at its place, from 1, so that sums over chunks are the row."""
        at = rows["place"][..., None] == 1 + jnp.arange(11)[None, None]
        return {name: jnp.einsum("bct,bchk->bthk", at, x) for name, x in inside.items()}

    @jax.jit
    def ask(params):
        state = model.apply(params, tokens, None, jnp.ones((2, 11), int)).state
        rows = {"back": back, "place": jnp.broadcast_to(1 + jnp.arange(11), (2, 11))}
        probe = Probe({}, rows, "recall", keep, 3)
        found = model.apply(params, tokens, state, ids, probes={"it": probe}).captured["it"]
        plain = small("mmrec", vocab_size=20)[0]
        told = plain.apply(params, tokens, state, ids, capture=("recurrence",)).captured
        return (found["reads"], found["values"]), told["recurrence"]["blocks"], state.m

    found, told, m0 = jax.tree.map(np.float64, ask(params))
    alpha = np.where(ids[None, ..., None] > 0, sigmoid(told["alpha_logits"]), 1)
    reset = np.zeros((2, 2, 11), bool)
    reset[:, 0, 6] = True
    expected = _read(earlier, told["k"], told["v"], alpha, told["beta"], m0, reset)
    for actual, value in zip(found, expected, strict=True):
        assert relative_error(actual, value) <= 1e-5


def test_every_token_asks_for_one_before_it_in_its_document():
    rows, model = batch(lengths=(12, 9, 1), width=12), linear_model()
    objective, seen = MemoryConsistency(MemoryConsistencyConfig(reach=3)), set()
    draw = jax.jit(lambda key: objective.draw(key, model, rows, None))
    for seed in range(30):
        drawn = draw(jax.random.key(seed))
        ids, back = rows["segment_ids"], np.asarray(drawn["back"])
        for b, t in np.ndindex(3, 12):
            possible = [s for s in range(max(t - 3, 0), t) if ids[b, s] == ids[b, t] > 0]
            assert (back[b, t] > 0) == bool(possible)
            assert not possible or t - back[b, t] in possible
            seen.add((b, t, t - back[b, t]))
    assert {(0, 5, 2), (0, 5, 3), (0, 5, 4)} <= seen
