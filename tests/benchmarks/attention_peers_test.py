"""The attention peers are the attention family: with a cache, in a plain step, and in torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers.jax_attention_cache import bytes_per_token, empty_cache, read
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.tree import num_bytes
from tests.small_step import moved

CONFIG = AttentionConfig(vocab_size=50, model_dim=16, num_layers=2, num_heads=2, ffn_dim=32)
MODEL = CONFIG.build()


@functools.cache
def params():
    return moved(jax.jit(MODEL.init)(jax.random.key(0)))


def test_chunks_give_the_logits_of_the_whole_text(rng):
    chunks = [4, 4, 1]
    tokens = jnp.asarray(rng.integers(0, CONFIG.vocab_size, (2, sum(chunks)), np.int32))
    whole = jax.jit(MODEL.apply)(params(), tokens).logits
    step = jax.jit(functools.partial(read, CONFIG, params()))
    cache, end = empty_cache(CONFIG, 2, length=12), 0
    for chunk in chunks:
        begin, end = end, end + chunk
        logits, cache = step(tokens[:, begin:end], cache)
        np.testing.assert_allclose(logits, whole[:, end - 1], atol=2e-5)
    assert int(cache.position) == sum(chunks)
    assert num_bytes((cache.k, cache.v)) == 2 * 12 * bytes_per_token(CONFIG)  # two rows


def test_torch_and_jax_have_the_same_logits_from_the_same_weights(rng):
    torch = pytest.importorskip("torch")
    from benchmarks.peers import torch_attention

    model, tree = torch_attention.AttentionLM(CONFIG), jax.tree.map(np.array, params())
    layers = tree["blocks"]
    weights = {"embedding": tree["embed"]["embedding"], "norm": tree["final_norm"]["scale"]}
    for i in range(CONFIG.num_layers):
        for name in ("qkv", "out", "gate_value", "down"):
            weights[f"layers.{i}.{name}"] = layers[name]["kernel"][i].T
        for name in ("norm", "ffn_norm"):
            weights[f"layers.{i}.{name}"] = layers[name]["scale"][i]
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    tokens = rng.integers(0, 50, (2, 200))
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens)).numpy()
    ours = jax.jit(MODEL.apply)(params(), jnp.asarray(tokens, jnp.int32)).logits
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
