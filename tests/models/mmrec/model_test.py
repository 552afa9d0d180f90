"""MM-Rec against a float64 NumPy model: values, state and gradients of every variant."""

import jax
import numpy as np
import pytest

from tests.models.mmrec.loops import relative_error
from tests.models.mmrec.numpy_model import NumpyModel
from tests.models.mmrec.small_model import (
    BATCH,
    LENGTH,
    VARIANTS,
    config,
    named_leaves,
    random_parameters,
    random_state,
    random_tokens,
    run,
)

# Two documents with padding at both ends and in the middle of one; a row that continues the
# carried document 3, then begins another.
SEGMENTS = np.int32([[0, 2, 2, 2, 0, 2, 2, 1, 1, 1, 0], [3] * 6 + [4] * 5])


def numpy_rows(small, params, tokens, state):
    """Two rows of the reference, from the carried state: logits, and the models afterwards."""
    models, logits = [], []
    for row in range(BATCH):
        model = NumpyModel(small, params)
        model.h, model.m = (np.array(x[:, row], np.float64) for x in (state.h, state.m))
        model.segment, model.position = int(state.segment[row]), int(state.position[row])
        logits.append(model.logits(np.asarray(tokens[row]), SEGMENTS[row]))
        models.append(model)
    return np.stack(logits), models


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request):
    """One variant run once: config, parameters, state, cotangents, result."""
    small = config(**VARIANTS[request.param])
    params, tokens = random_parameters(small), random_tokens()
    state = random_state(small, segment=3)
    rng = np.random.default_rng(1)
    g = rng.normal(size=(BATCH, LENGTH, small.vocab_size))
    g_states = 0.1 * rng.normal(size=(small.num_layers, BATCH, LENGTH, small.E))
    result = run(small, params, tokens, SEGMENTS, state, g, g_states)
    return small, params, tokens, state, (g, g_states), result


def test_logits_and_states_match_numpy(variant):
    """The model specification's "One block", token by token."""
    small, params, tokens, state, _, result = variant
    logits, models = numpy_rows(small, params, tokens, state)
    assert relative_error(result.logits, logits) <= 1e-5
    for row, model in enumerate(models):
        assert relative_error(result.state.h[:, row], model.h) <= 1e-5
        assert relative_error(result.state.m[:, row], model.m) <= 1e-5
        assert relative_error(result.states[:, row], np.stack(model.states, axis=1)) <= 1e-5
        assert int(result.state.segment[row]) == model.segment
        assert int(result.state.position[row]) == model.position


def test_gradients_match_numpy(variant):
    """Along a random direction of each parameter and memory, by central differences in float64."""
    small, params, tokens, state, (g, g_states), result = variant
    rng = np.random.default_rng(2)

    def loss(params, h, m):
        logits, models = numpy_rows(small, params, tokens, state.replace(h=h, m=m))
        states = np.stack([np.stack(model.states, axis=1) for model in models], axis=1)
        return np.sum(g * logits) + np.sum(g_states * states)

    arguments = (params, np.float64(state.h), np.float64(state.m))
    leaves, tree = jax.tree.flatten(jax.tree.map(np.float64, arguments))
    gradients = named_leaves((result.d_params, *result.d_memories))
    for i, (name, got) in enumerate(gradients.items()):
        direction, step = rng.normal(size=leaves[i].shape), 1e-6
        plus, minus = (
            loss(
                *jax.tree.unflatten(
                    tree, [*leaves[:i], leaves[i] + s * direction, *leaves[i + 1 :]]
                )
            )
            for s in (step, -step)
        )
        finite = (plus - minus) / (2 * step)
        assert abs(np.sum(got * direction) - finite) <= 1e-5 * np.linalg.norm(got), name


def test_every_parameter_is_trained(variant):
    """Layer by layer: no leaf and no layer of a leaf has a gradient of zeros."""
    for name, leaf in named_leaves(variant[-1].d_params).items():
        for layer in leaf if "blocks" in name else leaf[None]:
            assert np.all(np.isfinite(layer)), name
            assert np.any(layer != 0), name


def test_influence_of_tokens_on_logits(variant):
    """Here d logits_t / d embedding_s is exactly 0 for s > t, and not 0 for s <= t in the document.

    Tokens of an earlier document and padding have no influence either, but for the rounding of a
    sum that cancels (about 1e-9 of the rest). Padding itself reads what the last document left.
    """
    small, params, tokens, state, (g, _), _ = variant
    time = np.arange(LENGTH)
    owner = np.array([3, 3])  # the carried document
    for t in range(LENGTH):
        owner = np.where(SEGMENTS[:, t] > 0, SEGMENTS[:, t], owner)
        at_t = g * (time == t)[None, :, None]
        d = np.asarray(run(small, params, tokens, SEGMENTS, state, at_t).d_embedded)
        np.testing.assert_array_equal(d[:, t + 1 :], 0)
        size = np.max(np.abs(d), axis=-1)
        expected = (owner[:, None] == SEGMENTS) & (time <= t)
        expected[:, t] = True
        influence = size > 1e-7 * np.max(size)
        np.testing.assert_array_equal(influence, expected, err_msg=f"t = {t}")
