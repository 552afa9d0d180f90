"""A state in, a state out: whole = in pieces = token by token, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.family import MMRec
from mmrec_jax.models.mmrec.state import zero_state
from tests.models.mmrec.loops import assert_close, relative_error
from tests.models.mmrec.small_model import (
    BATCH,
    config,
    forward,
    named_leaves,
    random_parameters,
    random_state,
    random_tokens,
)

LENGTH = 12
# Documents and padding on both sides of every border of 6 and of 1; nothing at all.
SEGMENTS = np.int32([[0, 5, 5, 5, 5, 5, 5, 5, 0, 0, 4, 4], [1, 2, 2, 2, 2, 0, 0, 2, 2, 2, 2, 0]])
PIECES = [6, 1]


@functools.cache
def read(small, piece):
    """Compiled: reads `LENGTH` tokens in pieces, handing the state on, with all gradients."""

    @jax.jit
    def call(params, tokens, segment_ids, state, g):
        def split(x):
            return x.reshape(BATCH, LENGTH // piece, piece).swapaxes(0, 1)

        def loss(params, memories):
            def step(state, inputs):
                tokens, segment_ids = inputs
                logits, state, *_ = MMRec(small).apply(params, tokens, state, segment_ids)
                return state, logits

            start = state.replace(h=memories[0], m=memories[1])
            last, logits = jax.lax.scan(step, start, (split(tokens), split(segment_ids)))
            logits = logits.swapaxes(0, 1).reshape(BATCH, LENGTH, -1)
            # The last state counts too, so that its gradient is carried through every piece.
            total = jnp.sum(g * logits) + jnp.sum(jnp.square(last.h)) + jnp.sum(jnp.square(last.m))
            return total, (logits, last)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, (state.h, state.m))

    return call


@pytest.mark.parametrize("piece", PIECES)
def test_pieces_equal_the_whole(piece):
    small = config()
    params, tokens = random_parameters(small), random_tokens(shape=(BATCH, LENGTH))
    state = random_state(small, segment=1)
    g = jnp.float32(np.random.default_rng(0).normal(size=(BATCH, LENGTH, small.vocab_size)))
    inputs = (params, tokens, jnp.asarray(SEGMENTS), state, g)
    expected_gradients, (expected, expected_last) = read(small, LENGTH)(*inputs)
    gradients, (logits, last) = read(small, piece)(*inputs)
    assert relative_error(logits, expected) <= 1e-5
    assert_close(named_leaves(last), named_leaves(expected_last), 1e-5)
    assert_close(named_leaves(gradients), named_leaves(expected_gradients), 1e-5)


def test_no_state_is_the_zero_state():
    small = config()
    params, tokens = random_parameters(small), random_tokens()
    without = forward(small)(params, tokens)
    zero = forward(small)(params, tokens, zero_state(small, BATCH))
    jax.tree.map(np.testing.assert_array_equal, without, zero)


def test_numpy_arrays_are_read_as_those_of_jax():
    small = config()
    params, tokens = random_parameters(small), random_tokens(shape=(BATCH, LENGTH))
    expected = forward(small)(params, tokens, None, jnp.asarray(SEGMENTS))

    @jax.jit
    def call(params):  # arguments would be arrays of JAX in here
        given = [np.asarray(tokens, np.uint16), None, np.int64(SEGMENTS)]
        return MMRec(small).apply(params, *given)[:3]

    assert_close(named_leaves(call(params)), named_leaves(expected), 1e-6)


def test_a_new_id_forgets_the_state_and_the_same_id_keeps_it():
    small = config()
    params, tokens = random_parameters(small), random_tokens()
    state = random_state(small, segment=3)

    def logits(state, segment):
        ids = jnp.full(tokens.shape, segment, jnp.int32)
        return forward(small)(params, tokens, state, ids)[0]

    fresh = logits(zero_state(small, BATCH), 3)
    np.testing.assert_array_equal(logits(state, 4), fresh)
    assert relative_error(logits(state, 3), fresh) > 0.01
