"""The attention family: exact, and as large as its config says (causal: `contracts_test.py`)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.matching import matching, parameters_of
from mmrec_jax.errors import UserError
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.causal_attention import causal_attention
from mmrec_jax.tree import count
from tests.models.mmrec.derivatives import assert_gradient
from tests.small_step import moved


def reference(q, k, v, g, segments):
    """Attention token by token in float64: the result, and the gradients against `g`."""
    q, k, v, g = (np.asarray(x, np.float64) for x in (q, k, v, g))
    out, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
    for b, t, h in np.ndindex(q.shape[:3]):
        seen = np.flatnonzero(segments[b, : t + 1] == segments[b, t])
        of = h // (q.shape[2] // k.shape[2])
        score = k[b, seen, of] @ q[b, t, h]
        p = np.exp(score - score.max())
        p /= p.sum()
        out[b, t, h] = p @ v[b, seen, of]
        dv[b, seen, of] += p[:, None] * g[b, t, h]
        dp = v[b, seen, of] @ g[b, t, h]
        ds = p * (dp - p @ dp)
        dq[b, t, h] = ds @ k[b, seen, of]
        dk[b, seen, of] += ds[:, None] * q[b, t, h]
    return out, dq, dk, dv


# One block of queries; three blocks, the last one short; keys that three heads of queries share.
@pytest.mark.parametrize(
    ("length", "packed", "heads"), [(5, True, 2), (300, False, 2), (300, True, 2), (150, True, 6)]
)
def test_attention_is_that_of_a_float64_loop(length, packed, heads, rng):
    shapes = [(2, length, count, 8) for count in (heads, 2, 2, heads)]
    q, k, v, g = (2 * rng.normal(size=shape).astype(np.float32) for shape in shapes)
    q *= 8**-0.5
    segments = np.ones((2, length), np.int32)
    if packed:
        segments = np.stack([np.arange(length) // 70, np.arange(length) // 129]).astype(np.int32)

    @jax.jit
    def value_and_gradients(q, k, v, g):
        ids = jnp.asarray(segments) if packed else None
        value, pullback = jax.vjp(lambda *x: causal_attention(*x, ids), q, k, v)
        return value, *pullback(g)

    for ours, theirs in zip(
        value_and_gradients(q, k, v, g), reference(q, k, v, g, segments), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_every_parameter_has_the_gradient_that_differences_give(rng, x64):
    model = AttentionConfig(vocab_size=50, model_dim=16, num_layers=2, num_heads=2, ffn_dim=32)
    model = model.build()
    with jax.enable_x64(False):
        start = jax.device_get(jax.jit(model.init)(jax.random.key(0)))
    tree = jax.tree.map(jnp.float64, moved(start, 0.2))
    tokens, targets = (jnp.asarray(rng.integers(0, 50, (2, 9)), jnp.int32) for _ in range(2))

    def loss(tree):
        logits = model.apply(tree, tokens).logits
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))

    assert_gradient(loss, tree, rng, step=1e-5, tolerance=1e-4)


@pytest.mark.parametrize("parameters", [1_397_008, 900_000])
def test_the_matching_config_has_the_size_asked_for(parameters):
    config = matching(parameters, vocab_size=1000, model_dim=128, num_layers=4, num_heads=4)
    assert parameters_of(config) == count(jax.eval_shape(config.build().init, jax.random.key(0)))
    assert parameters_of(config) == pytest.approx(parameters, rel=0.02)


def test_heads_must_divide_the_width():
    with pytest.raises(UserError, match=r"config\.model\.num_heads is 3"):
        AttentionConfig(vocab_size=50, model_dim=16, num_layers=2, num_heads=3, ffn_dim=32)
