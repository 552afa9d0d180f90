"""The model's start, its longest context, and the options that must not change its numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmrec_jax.models.api import Training
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.family import MMRec
from tests.models.mmrec.loops import assert_close, relative_error
from tests.models.mmrec.small_model import (
    BATCH,
    LENGTH,
    config,
    forward,
    named_leaves,
    random_parameters,
    random_state,
    random_tokens,
    run,
)


def next_token_loss(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(logits[:, :-1])
    return -jnp.mean(jnp.take_along_axis(log_probabilities, tokens[:, 1:, None], axis=-1))


def test_loss_at_the_start_is_that_of_a_uniform_guess(rng):
    """The loss is ln V to 2 %, at the real size "tiny"."""
    tiny = MMRecConfig(vocab_size=5000, model_dim=128, num_layers=4)
    tokens = jnp.asarray(rng.integers(0, tiny.vocab_size, (4, 64)), jnp.int32)

    @jax.jit
    def loss(key):
        model = tiny.build()
        return next_token_loss(model.apply(model.init(key), tokens).logits, tokens)

    assert abs(float(loss(jax.random.key(0))) / np.log(5000) - 1) <= 0.02


@functools.cache
def trained(small: MMRecConfig):
    """Compiled `params, tokens -> gradients of the loss, (logits, state)`."""

    @jax.jit
    def call(params, tokens):
        def loss(params):
            logits, state, *_ = MMRec(small).apply(params, tokens)
            return next_token_loss(logits, tokens), (logits, state)

        return jax.grad(loss, has_aux=True)(params)

    return call


@pytest.mark.parametrize(("gamma", "alpha"), [(-14.0, -6.9), (13.8, -6.9), (13.8, 13.8)])
def test_32768_tokens_with_extreme_decays(gamma, alpha):
    """Decays gamma of 1e-6 and 1 - 1e-6, alpha of 1e-3 and 1 - 1e-6: all finite, all alive."""
    small = config(num_layers=1, chunk=32, use_dpg=False)
    params = random_parameters(small)
    block = params["blocks"] | {
        "b_gamma": jnp.full_like(params["blocks"]["b_gamma"], gamma),
        "b_alpha": jnp.full_like(params["blocks"]["b_alpha"], alpha),
    }
    tokens = random_tokens(shape=(1, 32768))
    gradients, (logits, state) = trained(small)(params | {"blocks": block}, tokens)
    assert bool(jnp.all(jnp.isfinite(logits)))
    for name, leaf in named_leaves((state.h, state.m, gradients)).items():
        assert np.all(np.isfinite(leaf)), name
        assert np.any(leaf != 0), name


def shared_run(**changes):
    """The compiled function of model_test.py, with some fields of the config changed."""
    small = config(**changes)
    g = np.random.default_rng(0).normal(size=(BATCH, LENGTH, small.vocab_size))
    return run(small, random_parameters(config()), random_tokens(), g=g)


def test_bfloat16_is_close_to_float32():
    """Activations are narrow, but the state, the logits and the gradients are float32."""
    exact, narrow = shared_run(), shared_run(dtype="bfloat16")
    assert narrow.logits.dtype == narrow.state.h.dtype == narrow.state.m.dtype == jnp.float32
    for name, leaf in named_leaves(narrow.d_params).items():
        assert leaf.dtype == np.float32, name
        assert np.all(np.isfinite(leaf)), name
    assert 1e-4 < relative_error(narrow.logits, exact.logits) <= 3e-2
    assert relative_error(narrow.state.h, exact.state.h) <= 3e-2
    assert relative_error(narrow.state.m, exact.state.m) <= 3e-2


@pytest.mark.parametrize("seed", [13, 19, 34])
def test_a_first_read_with_q_across_k_does_not_spoil_bfloat16_gradients(seed):
    """Random models of which a read is near zero: with epsilon 1e-6 100 to 700 % off."""
    g = np.random.default_rng(0).normal(size=(BATCH, LENGTH, config().vocab_size))
    narrow, exact = (
        named_leaves(
            run(
                config(dtype=dtype, head_norm_epsilon=MMRecConfig().head_norm_epsilon),
                random_parameters(config(), seed),
                random_tokens(seed),
                g=g,
            )
        )
        for dtype in ("bfloat16", "float32")
    )
    names = [name for name in exact if "d_params" in name]
    assert names
    for name in names:
        difference = np.linalg.norm(narrow[name] - exact[name])
        assert difference <= 0.3 * np.linalg.norm(exact[name]), name


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


def test_remat_changes_nothing():
    assert_close(named_leaves(shared_run(remat="dots")), named_leaves(shared_run()), 1e-5)


def test_a_row_read_in_pieces_is_read_as_a_whole():
    """Three pieces of 4, 4 and 3 tokens; a document begins in the middle of the second.

    The pieces are rematerialised, the whole is not: "full" must change nothing either.
    """
    ids = np.array([[3] * 5 + [4] * 4 + [0] * 2, [2] * 11], np.int32)
    results = []
    for time_chunk, remat in ((1024, "none"), (5, "full")):
        small = config(scan="parallel", time_chunk=time_chunk, remat=remat)
        state = random_state(small, segment=3)
        rng = np.random.default_rng(3)
        g = rng.normal(size=(BATCH, LENGTH, small.vocab_size))
        g_states = rng.normal(size=(small.num_layers, BATCH, LENGTH, small.E))
        result = run(small, random_parameters(small), random_tokens(), ids, state, g, g_states)
        assert all(name.startswith("newton") for name in result.metrics)  # of the worst piece
        results.append(named_leaves(result._replace(metrics={})))
    assert_close(*results, 1e-5)


def test_dropout_acts_only_when_asked():
    tokens, params = random_tokens(), random_parameters(config())
    wet = MMRec(config(dropout=0.3))

    @jax.jit
    def logits(key):
        dropped = wet.apply(params, tokens, training=Training(key, jnp.int32(0)))
        return wet.apply(params, tokens).logits, dropped.logits

    (plain, one), (_, same), (_, other) = (logits(jax.random.key(i)) for i in (0, 0, 1))
    assert relative_error(plain, forward(config())(params, tokens)[0]) <= 1e-6
    np.testing.assert_array_equal(one, same)
    assert relative_error(one, plain) > 0.05
    assert relative_error(one, other) > 0.05
