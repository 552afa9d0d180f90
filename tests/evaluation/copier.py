"""Hand-made models for the probes: one that repeats what followed a token, one that knows nothing.

The copier's state is the token that followed each token last, and the last token read.
"""

import jax
import jax.numpy as jnp

from mmrec_jax.evaluation.reader import Reader

VOCABULARY = 40


def _copy(params, tokens, state, segment_ids):
    def step(carried, inputs):
        follows, last = carried
        token, real = inputs
        rows = jnp.arange(token.shape[0])
        learnt = follows.at[rows, last].set(token)
        follows = jnp.where(real[:, None], learnt, follows)
        last = jnp.where(real, token, last)
        return (follows, last), 9.0 * jax.nn.one_hot(follows[rows, last], VOCABULARY)

    state, logits = jax.lax.scan(step, state, (tokens.T, segment_ids.T > 0))
    return logits.swapaxes(0, 1), state


def copier() -> Reader:
    """Predicts the token that followed the last token when it was read before (0 if never)."""

    def zero_state(rows):
        return jnp.zeros((rows, VOCABULARY), jnp.int32), jnp.zeros(rows, jnp.int32)

    return Reader(_copy, None, zero_state)


def uniform() -> Reader:
    """Finds every token equally likely."""

    def read(params, tokens, state, segment_ids):
        return jnp.zeros((*tokens.shape, VOCABULARY)), state

    return Reader(read, None, lambda rows: jnp.zeros(rows))
