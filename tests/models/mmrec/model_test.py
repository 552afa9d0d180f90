"""MM-Rec against a float64 NumPy model in every variant, and the options that must change nothing.

All in one file, since what is compiled for one test serves the others.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmrec_jax.models.api import Training
from mmrec_jax.models.mmrec import scan
from mmrec_jax.models.mmrec.block import RECURRENCE, Block
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.family import MMRec
from mmrec_jax.models.mmrec.layers import InputProjection, projection_widths
from tests.models.mmrec.loops import assert_close, relative_error
from tests.models.mmrec.numpy_model import NumpyModel
from tests.models.mmrec.small_model import (
    BATCH,
    LENGTH,
    VARIANTS,
    config,
    forward,
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


def cotangents(small):
    rng = np.random.default_rng(3)
    g = rng.normal(size=(BATCH, LENGTH, small.vocab_size))
    return g, 0.1 * rng.normal(size=(small.num_layers, BATCH, LENGTH, small.E))


def run_from_state(small):
    """Parameters, tokens, a carried state, and what comes of them with all gradients."""
    params, tokens = random_parameters(small), random_tokens()
    state = random_state(small, segment=3)
    return params, tokens, state, run(small, params, tokens, SEGMENTS, state, *cotangents(small))


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request):
    small = config(**VARIANTS[request.param])
    return small, *run_from_state(small)


def test_logits_and_states_match_numpy(variant):
    """The model specification's "One block", token by token."""
    small, params, tokens, state, result = variant
    logits, models = numpy_rows(small, params, tokens, state)
    assert relative_error(result.logits, logits) <= 1e-5
    for row, model in enumerate(models):
        assert relative_error(result.state.h[:, row], model.h) <= 1e-5
        assert relative_error(result.state.m[:, row], model.m) <= 1e-5
        assert relative_error(result.states[:, row], np.stack(model.states, axis=1)) <= 1e-5
        assert int(result.state.segment[row]) == model.segment
        assert int(result.state.position[row]) == model.position


def test_gradients_match_numpy(variant):
    """Along a random direction of each parameter and memory, by central differences in float64.

    Layer by layer none is a gradient of zeros.
    """
    small, params, tokens, state, result = variant
    rng = np.random.default_rng(2)
    g, g_states = cotangents(small)

    def loss(params, h, m):
        logits, models = numpy_rows(small, params, tokens, state.replace(h=h, m=m))
        states = np.stack([np.stack(model.states, axis=1) for model in models], axis=1)
        return np.sum(g * logits) + np.sum(g_states * states)

    arguments = (params, np.float64(state.h), np.float64(state.m))
    leaves, tree = jax.tree.flatten(jax.tree.map(np.float64, arguments))
    gradients = named_leaves((result.d_params, *result.d_memories))
    for i, (name, got) in enumerate(gradients.items()):
        direction = rng.normal(size=leaves[i].shape)
        ends = [[*leaves[:i], leaves[i] + s * direction, *leaves[i + 1 :]] for s in (1e-6, -1e-6)]
        plus, minus = (loss(*jax.tree.unflatten(tree, end)) for end in ends)
        finite = (plus - minus) / 2e-6
        # Of an error of 1e-5 the part along a random direction: up to three standard deviations.
        assert abs(np.sum(got * direction) - finite) <= 3e-5 * np.linalg.norm(got), name
        layers = got if "blocks" in name else got[None]
        assert got.size == 0 or all(np.any(layer != 0) for layer in layers), name


@pytest.mark.parametrize(
    "changes",
    [
        {"remat": "dots", "time_chunk": 5},  # three chunks; a document begins inside the second
        {"remat": "full", "newton_passes": 1},
    ],
    ids=str,
)
def test_how_it_is_computed_changes_nothing(changes):
    """By passes over all tokens, which are enough for a row or not, instead of one by one."""
    small = config()
    *_, expected = run_from_state(small)
    *_, found = run_from_state(dataclasses.replace(small, scan="parallel", **changes))
    pair = [named_leaves(x._replace(metrics={})) for x in (found, expected)]
    assert_close(*pair, 1e-4)
    assert float(found.metrics["newton_iterations"]) >= 1
    assert float(found.metrics["newton_fell_back"]) == ("newton_passes" in changes)


def test_bfloat16_is_close_to_float32():
    """Activations are narrow, but the state, the logits and the gradients are float32.

    With seed 13 a first read is near 0, where an epsilon of 1e-6 makes gradients over 100 % off.
    """
    small = config(num_layers=1, head_norm_epsilon=MMRecConfig().head_norm_epsilon)
    params, tokens, g = random_parameters(small, 13), random_tokens(13), cotangents(small)[0]
    exact, narrow = (
        run(dataclasses.replace(small, dtype=dtype), params, tokens, g=g)
        for dtype in ("float32", "bfloat16")
    )
    assert narrow.logits.dtype == narrow.state.h.dtype == narrow.state.m.dtype == jnp.float32
    assert 1e-4 < relative_error(narrow.logits, exact.logits) <= 3e-2
    assert relative_error(narrow.state.h, exact.state.h) <= 3e-2
    assert relative_error(narrow.state.m, exact.state.m) <= 3e-2
    expected = named_leaves(exact.d_params)
    for name, leaf in named_leaves(narrow.d_params).items():
        assert leaf.dtype == np.float32, name
        apart = np.linalg.norm(leaf - expected[name])
        assert apart <= 0.3 * np.linalg.norm(expected[name]), name


def test_a_first_read_has_a_bounded_gradient():
    """Where a document's first read s v, s = beta (q k), is 0, it moves a logit at most 30 times as
    fast as on average between s = -1 and 1: with epsilon 1e-6 it is 850 times.
    """
    small = config(num_layers=1, head_norm_epsilon=MMRecConfig().head_norm_epsilon)
    params, tokens = random_parameters(small), random_tokens(shape=(1, 1))
    v = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, small.H, small.K)), jnp.float32)

    @jax.jit
    def logits(s):
        def read(call, args, kwargs, context):
            return call(*((s * v,) if context.module.name == "head_norm" else args), **kwargs)

        with nn.intercept_methods(read):
            return MMRec(small).apply(params, tokens).logits

    slopes = [jnp.max(jnp.abs(logits(s) - logits(-s))) / (2 * s) for s in (1e-4, 1.0)]
    assert slopes[0] <= 30 * slopes[1]


def test_token_by_token_it_is_what_it_is_at_once():
    """Values, and the gradients that are carried through the states of every call."""
    small = config()
    params, tokens, state, whole = run_from_state(small)
    g = cotangents(small)[0]

    @jax.jit
    def gradients(params, memories):
        def loss(params, memories):
            def step(state, at):
                output = MMRec(small).apply(params, at[0], state, at[1])
                return output.state, output.logits

            start = state.replace(h=memories[0], m=memories[1])
            by_time = (tokens.T[..., None], jnp.asarray(SEGMENTS).T[..., None])
            last, logits = jax.lax.scan(step, start, by_time)
            logits = logits[:, :, 0].swapaxes(0, 1)
            return jnp.sum(g * logits), (logits, last)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, memories)

    (to_params, to_memories), (logits, last) = gradients(params, (state.h, state.m))
    assert relative_error(logits, whole.logits) <= 1e-5
    assert_close(named_leaves(last), named_leaves(whole.state), 1e-5)
    expected = run(small, params, tokens, SEGMENTS, state, g)
    assert_close(named_leaves(to_params), named_leaves(expected.d_params), 1e-5)
    assert_close(named_leaves(to_memories), named_leaves(expected.d_memories), 1e-5)


def test_padding_is_not_read_and_leaves_the_state_to_the_last_bit():
    """So that idle rows of a batch can be carried for ever; what its tokens are does not matter."""
    small = config()
    params, tokens, state, result = run_from_state(small)
    after = run(small, params, tokens, np.zeros((BATCH, LENGTH)), state).state
    jax.tree.map(np.testing.assert_array_equal, after, state)
    real = SEGMENTS > 0
    other = run(small, params, jnp.where(real, tokens, 12 - tokens), SEGMENTS, state)
    np.testing.assert_array_equal(other.logits[real], result.logits[real])
    jax.tree.map(np.testing.assert_array_equal, other.state, result.state)


def test_numpy_arrays_are_read_as_those_of_jax():
    small = config(**VARIANTS["none-none"])
    params, tokens = random_parameters(small), random_tokens()
    expected = forward(small)(params, tokens, None, jnp.asarray(SEGMENTS))

    @jax.jit
    def call(params):  # arguments would be arrays of JAX in here
        given = [np.asarray(tokens, np.uint16), None, np.int64(SEGMENTS)]
        output = MMRec(small).apply(params, *given)
        return output.logits, output.state, output.metrics

    assert_close(named_leaves(call(params)), named_leaves(expected), 1e-6)


def test_the_fused_projection_is_the_separate_ones_side_by_side(rng):
    """These settings have all of them; NumPy has shown that each does its part."""
    every = {"gate": "input", "addresses": "tokens"}
    fused, separate = config(**every), config(**every, use_hem=False)
    widths = projection_widths(fused)
    assert widths == {"z": 6, "v": 10, "g": 16, "q": 6, "k": 6, "beta": 2, "alpha": 2, "i": 6}
    u, matrix = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 8), (8, 54)))
    parts = np.split(matrix, np.cumsum(list(widths.values()))[:-1], axis=-1)
    cut = {name: {"kernel": part} for name, part in zip(widths, parts, strict=True)}
    expected = {name: u @ part["kernel"] for name, part in cut.items()}
    for small, params in ((separate, cut), (fused, {"fused": {"kernel": matrix}})):
        found = jax.jit(InputProjection(small).apply)({"params": params}, u)
        assert_close(found, expected, 1e-5)


def test_dropout_acts_only_when_asked():
    dry = config(**VARIANTS["none-none"])
    tokens, params = random_tokens(), random_parameters(dry)
    wet = MMRec(dataclasses.replace(dry, dropout=0.3))

    @jax.jit
    def logits(key):
        dropped = wet.apply(params, tokens, training=Training(key, jnp.int32(0)))
        return wet.apply(params, tokens).logits, dropped.logits

    # Of the embedding, and of both branches of a block.
    assert str(logits.trace(jax.random.key(0)).jaxpr).count("random_bits[") == 3
    (plain, one), (_, same), (_, other) = (logits(jax.random.key(i)) for i in (0, 0, 1))
    assert relative_error(plain, forward(dry)(params, tokens)[0]) <= 1e-6
    np.testing.assert_array_equal(one, same)
    assert min(relative_error(one, x) for x in (plain, other)) > 0.05


def test_loss_at_the_start_is_that_of_a_uniform_guess(rng):
    """The loss is ln V to 2 %, at the real size "tiny"."""
    tiny = MMRecConfig(vocab_size=5000, model_dim=128, num_layers=4)
    tokens = jnp.asarray(rng.integers(0, tiny.vocab_size, (4, 64)), jnp.int32)

    @jax.jit
    def loss(key):
        logits = tiny.build().apply(tiny.build().init(key), tokens).logits
        log_p = jax.nn.log_softmax(logits[:, :-1])
        return -jnp.mean(jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1))

    assert abs(float(loss(jax.random.key(0))) / np.log(5000) - 1) <= 0.02


def test_32768_tokens_with_extreme_decays():
    """Decays gamma of 1e-6 and 1 - 1e-6, alpha of 1e-3 and 1 - 1e-6: all finite, all alive."""
    small = config(num_layers=1, chunk=32, use_dpg=False)
    params, tokens = random_parameters(small), random_tokens(shape=(1, 32768))

    @jax.jit
    def gradients(params):
        def loss(params):
            output = MMRec(small).apply(params, tokens)
            logits = output.logits
            return jnp.mean(jax.nn.logsumexp(logits, -1) - logits[..., 1]), output.state

        return jax.grad(loss, has_aux=True)(params)

    for gamma, alpha in ((-14.0, -6.9), (13.8, 13.8)):
        decays = {"b_gamma": gamma, "b_alpha": alpha}
        blocks = params["blocks"]
        blocks = blocks | {n: jnp.full_like(blocks[n], value) for n, value in decays.items()}
        found = gradients(params | {"blocks": blocks})
        for name, leaf in named_leaves(found).items():
            assert np.all(np.isfinite(leaf)), name
            assert np.any(leaf != 0), name


def test_the_solver_of_a_linear_gate_is_that_of_the_config_or_of_the_table(monkeypatch):
    params, tokens, used = random_parameters(config(gate="input")), random_tokens(), []
    solvers = {
        name: lambda a, b, h0, reverse, name=name: used.append((name, b.shape)) or b
        for name in scan.BACKENDS
    }
    monkeypatch.setattr(scan, "BACKENDS", solvers)
    monkeypatch.setattr(scan, "fastest", lambda table, kinds, channels, length: "chunked")
    for setting, name in (("auto", "chunked"), ("sequential",) * 2, ("parallel", "associative")):
        model = MMRec(config(gate="input", scan=setting))
        jax.eval_shape(lambda params, model=model: model.apply(params, tokens).logits, params)
        assert set(used) == {(name, (BATCH, LENGTH, config().E))}
        used.clear()


# What a block leaves in the collection "recurrence", and that nobody pays who does not ask.


def test_the_program_of_training_does_not_know_of_what_is_recorded(monkeypatch):
    small = config(dropout=0.1, remat="full", time_chunk=4)
    params, tokens = random_parameters(small), random_tokens()

    def program():
        def loss(params, key):
            training = Training(key, jnp.int32(0))
            return MMRec(small).apply(params, tokens, training=training).logits.sum()

        text = str(jax.make_jaxpr(jax.value_and_grad(loss))(params, jax.random.key(0)))
        return re.sub("0x[0-9a-f]+", "", text)  # addresses of functions

    recorded = program()
    monkeypatch.setattr(Block, "_record", lambda self, *collection, **values: None)
    assert program() == recorded
    variables = jax.eval_shape(MMRec(small).module.init, jax.random.key(0), tokens)
    assert set(variables) == {"params"}


def test_chunks_of_time_lie_on_an_axis_of_their_own():
    """Also where the backward pass would recompute them."""
    small = config(remat="full", memory="decay", gate="input")
    params, tokens = random_parameters(small), random_tokens()

    def recorded(small):
        @jax.jit
        def call(params):
            return MMRec(small).apply(params, tokens, capture=(RECURRENCE,)).captured

        return jax.device_get(call(params))[RECURRENCE]["blocks"]

    whole, chunks = recorded(small), recorded(dataclasses.replace(small, time_chunk=4))
    by_token = {"gamma_logits", "gate_logits", "h", "k", "v", "alpha_logits", "beta"}
    assert whole.keys() == chunks.keys() == by_token
    for name in by_token:
        assert chunks[name].shape[:4] == (small.num_layers, 3, BATCH, 4)
        joined = np.concatenate(list(np.moveaxis(chunks[name], 1, 0)), axis=2)[:, :, :LENGTH]
        np.testing.assert_allclose(joined, whole[name], rtol=1e-4, atol=1e-5)
