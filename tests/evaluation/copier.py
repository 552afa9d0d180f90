"""Hand-made models for the probes: one that repeats what followed a token, one that knows nothing.

The copier's state is the token that followed each token last, and the last token read.
"""

import dataclasses

import jax
import jax.numpy as jnp

from tests.small_step import logits_output

VOCABULARY = 40


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Copier:
    """Predicts the token that followed the last token when it was read before (0 if never)."""

    vocabulary: int = VOCABULARY
    state_batch_axes = (0, 0)

    def initial_state(self, rows):
        return jnp.zeros((rows, self.vocabulary), jnp.int32), jnp.zeros(rows, jnp.int32)

    def apply(self, params, tokens, state, segment_ids):
        def step(carried, inputs):
            follows, last = carried
            token, real = inputs
            rows = jnp.arange(token.shape[0])
            learnt = follows.at[rows, last].set(token)
            follows = jnp.where(real[:, None], learnt, follows)
            last = jnp.where(real, token, last)
            return (follows, last), 9.0 * jax.nn.one_hot(follows[rows, last], self.vocabulary)

        state, logits = jax.lax.scan(step, state, (tokens.T, segment_ids.T > 0))
        return logits_output(logits.swapaxes(0, 1), state)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Uniform:
    """Finds every token equally likely, and needs no state for that."""

    vocabulary: int = VOCABULARY
    state_batch_axes = None

    def apply(self, params, tokens, state=None, segment_ids=None):
        return logits_output(jnp.zeros((*tokens.shape, self.vocabulary)))
