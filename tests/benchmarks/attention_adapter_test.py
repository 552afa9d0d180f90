"""The adapter is the attention model, and the library's step trains it as the peer's own does."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers import jax_attention
from benchmarks.peers.attention_adapter import AttentionAdapter
from benchmarks.peers.attention_config import AttentionConfig
from mmrec_jax.config import OptimConfig
from mmrec_jax.models.mmrec.state import zero_state
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim.masks import decay_mask
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from mmrec_jax.tree import map_named
from tests.small_run import small_model

CONFIG = AttentionConfig(vocab_size=50, model_dim=16, num_layers=2, num_heads=2, ffn_dim=32)
PEER = jax_attention.AttentionLM(CONFIG)
ADAPTER = AttentionAdapter(small_model(), CONFIG)
# Weight decay that would be seen in every leaf that decays, and no clipping to hide a scale.
OPTIMIZER = build_optimizer(OptimConfig(lr=1e-2, weight_decay=1.0, warmup_steps=0), steps=10)


@functools.cache
def start():
    def moved():
        state = initial_state(ADAPTER, OPTIMIZER, 0)
        # The scales away from 1, so that a wrong place for one of them is seen.
        keys = iter(jax.random.split(jax.random.key(3), 20))
        params = jax.tree.map(
            lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), state.params
        )
        return dataclasses.replace(state, params=params)

    return jax.jit(moved)()


@pytest.fixture
def batch(rng):
    tokens = rng.integers(0, 50, (2, 13), np.int32)
    segments = np.array([[1] * 12, [1] * 4 + [2] * 5 + [0] * 3], np.int32)
    return {
        "inputs": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "segment_ids": segments,
        "weights": (segments > 0).astype(np.float32),
    }


def test_the_adapter_gives_the_logits_of_the_model(batch):
    params, tokens = start().params, jnp.asarray(batch["inputs"])
    segments = jnp.asarray(batch["segment_ids"])
    state = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), zero_state(ADAPTER.config, 2))

    @jax.jit
    def both(params):
        expected = PEER.apply({"params": params["attention"]}, tokens, segments)
        return ADAPTER.apply({"params": params}, tokens, state, segments), expected

    (logits, after, intermediates), expected = both(params)
    np.testing.assert_array_equal(logits, expected)
    assert jax.tree.all(jax.tree.map(np.array_equal, after, state))
    assert intermediates == {}


def test_the_librarys_step_is_the_peers_own(batch):
    ours, metrics = jax.jit(make_train_step(ADAPTER, OPTIMIZER))(start(), batch)
    params = start().params["attention"]
    own = jax_attention.TrainState(params=params, opt_state=OPTIMIZER.init(params))
    theirs, expected = jax.jit(jax_attention.train_step, static_argnums=(0, 1))(
        PEER, OPTIMIZER, own, batch
    )
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], expected["grad_norm"], rtol=1e-5)
    moved = ours.params["attention"]
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=2e-5), moved, theirs.params
    )
    same = jax.tree.leaves(jax.tree.map(np.array_equal, moved, params))
    assert not any(same)
    assert metrics["tokens"] == 21


def test_matrices_decay_and_scales_do_not():
    params = jax.eval_shape(ADAPTER.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    decays = {}
    map_named(lambda name, leaf: decays.setdefault(name, leaf), decay_mask(params["params"]))
    assert {name.removeprefix("attention/") for name, yes in decays.items() if yes} == {
        "embed/embedding",
        "layers/qkv/kernel",
        "layers/out/kernel",
        "layers/gate_value/kernel",
        "layers/down/kernel",
    }
    assert {name.removeprefix("attention/") for name, yes in decays.items() if not yes} == {
        "layers/norm/scale",
        "layers/ffn_norm/scale",
        "final_norm/scale",
    }
