"""The cached attention peer reads on as if it had read everything at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers.jax_attention_cache import bytes_per_token, empty_cache, read
from mmrec_jax.models.attention.model import AttentionLM
from tests.benchmarks.attention_test import CONFIG, params


@pytest.mark.parametrize("pieces", [[4, 4, 1], [1] * 9])
def test_pieces_give_the_logits_of_the_whole_text(pieces, rng):
    tokens = jnp.asarray(rng.integers(0, CONFIG.vocab_size, (2, sum(pieces)), np.int32))
    whole = AttentionLM(CONFIG).apply({"params": params(1)}, tokens)
    step = jax.jit(functools.partial(read, CONFIG, params(1)))
    cache, end = empty_cache(CONFIG, 2, length=12), 0
    for piece in pieces:
        begin, end = end, end + piece
        logits, cache = step(tokens[:, begin:end], cache)
        np.testing.assert_allclose(logits, whole[:, end - 1], atol=2e-5)
    assert int(cache.position) == sum(pieces)


def test_the_bytes_of_a_token_are_those_of_its_place():
    cache = empty_cache(CONFIG, 1, length=12)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((cache.k, cache.v)))
    assert held == 12 * bytes_per_token(CONFIG)
