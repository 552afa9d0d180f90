"""The attention family: exact, causal, and of the size that its config says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.models.attention.config import AttentionConfig, matching
from mmrec_jax.models.attention.model import causal_attention
from mmrec_jax.tree import count

CONFIG = AttentionConfig(vocab_size=50, model_dim=16, num_layers=2, num_heads=2, ffn_dim=32)
MODEL = CONFIG.build()


@functools.cache
def params():
    """Parameters moved away from their special start."""
    leaves, structure = jax.tree.flatten(jax.jit(MODEL.init)(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.2 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def reference(q, k, v, g, segments):
    """Attention token by token in float64: the result, and the gradients against `g`."""
    q, k, v, g = (np.asarray(x, np.float64) for x in (q, k, v, g))
    out, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
    scale = q.shape[-1] ** -0.5
    for b, t, h in np.ndindex(q.shape[:3]):
        seen = np.flatnonzero(segments[b, : t + 1] == segments[b, t])
        score = scale * k[b, seen, h] @ q[b, t, h]
        p = np.exp(score - score.max())
        p /= p.sum()
        out[b, t, h] = p @ v[b, seen, h]
        dv[b, seen, h] += p[:, None] * g[b, t, h]
        dp = v[b, seen, h] @ g[b, t, h]
        ds = scale * p * (dp - p @ dp)
        dq[b, t, h] = ds @ k[b, seen, h]
        dk[b, seen, h] += ds[:, None] * q[b, t, h]
    return out, dq, dk, dv


# One block of queries; three blocks, the last one short.
@pytest.mark.parametrize("length", [1, 5, 300])
@pytest.mark.parametrize("packed", [False, True])
def test_attention_is_that_of_a_float64_loop(length, packed, rng):
    q, k, v, g = (2 * rng.normal(size=(2, length, 2, 8)).astype(np.float32) for _ in range(4))
    segments = np.ones((2, length), np.int32)
    if packed:
        segments = np.stack([np.arange(length) // 70, np.arange(length) // 129]).astype(np.int32)

    def attend(q, k, v):
        return causal_attention(q, k, v, jnp.asarray(segments) if packed else None)

    @jax.jit
    def value_and_gradients(q, k, v, g):
        value, pullback = jax.vjp(attend, q, k, v)
        return value, *pullback(g)

    for ours, theirs in zip(
        value_and_gradients(q, k, v, g), reference(q, k, v, g, segments), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_no_logit_sees_a_later_token():
    tokens, tree = jnp.arange(6)[None] * 7, params()

    def logits(rows):
        """Each token gets an embedding row of its own, so that a gradient belongs to one time."""
        table = tree["embed"]["embedding"].at[tokens[0]].set(rows)
        changed = tree | {"embed": {"embedding": table}}
        # Of a symbol that no token is, whose output weights are not `rows`.
        return MODEL.apply(changed, tokens).logits[0, :, 1]

    rows = tree["embed"]["embedding"][tokens[0]]
    reached = np.abs(jax.jit(jax.jacrev(logits))(rows)).max(-1)
    assert (reached[np.triu_indices(6, 1)] == 0).all()
    assert (reached[np.tril_indices(6)] > 0).all()


def test_every_parameter_has_the_gradient_that_differences_give(rng, x64):
    """Along one random direction per parameter, in double precision."""
    tree = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params())
    tokens, targets = (jnp.asarray(rng.integers(0, 50, (2, 9)), jnp.int32) for _ in range(2))

    @jax.jit
    def loss(tree):
        logits = MODEL.module.apply({"params": tree}, tokens)[0]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(tree))
    leaves, structure = jax.tree.flatten(tree)
    for i, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        direction = rng.normal(size=leaf.shape)
        ahead, behind = (
            loss(
                jax.tree.unflatten(structure, [*leaves[:i], leaf + e * direction, *leaves[i + 1 :]])
            )
            for e in (1e-5, -1e-5)
        )
        measured = float((ahead - behind) / 2e-5)
        assert abs(measured) > 1e-5
        assert float(jnp.vdot(gradient, direction)) == pytest.approx(measured, rel=1e-4)


def test_packed_documents_are_read_as_if_alone(rng):
    tokens = rng.integers(0, 50, (1, 12), np.int32)
    read = jax.jit(lambda tokens, ids=None: MODEL.apply(params(), tokens, None, ids).logits)
    packed = read(tokens, jnp.array([[1] * 5 + [2] * 7]))
    alone = jnp.concatenate([read(tokens[:, :5]), read(tokens[:, 5:])], axis=1)
    np.testing.assert_allclose(packed, alone, atol=2e-5)


@pytest.mark.parametrize("parameters", [1_397_008, 900_000])
def test_the_matching_config_has_the_size_asked_for(parameters):
    config = matching(parameters, vocab_size=1000, model_dim=128, num_layers=4, num_heads=4)
    assert config.parameters == count(jax.eval_shape(config.build().init, jax.random.key(0)))
    assert config.parameters == pytest.approx(parameters, rel=0.02)


def test_heads_must_divide_the_width():
    with pytest.raises(UserError, match=r"config\.model\.num_heads is 3"):
        AttentionConfig(vocab_size=50, model_dim=16, num_layers=2, num_heads=3, ffn_dim=32)
