import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.models.mmrec.state import zero_state
from mmrec_jax.tree import count, num_bytes

# The specification's table: vocabulary, D, layers, H, context; and the parameters that follow.
_TABLE = {
    "tiny": (5_000, 128, 4, 4, 1_024),
    "mini": (10_000, 256, 6, 4, 2_048),
    "small": (20_000, 512, 8, 8, 4_096),
    "base": (32_000, 1024, 12, 8, 8_192),
    "medium": (32_000, 2048, 16, 16, 16_384),
    "large": (32_000, 3072, 20, 24, 32_768),
    "7b": (32_000, 4096, 24, 32, 32_768),
}


def _parameters_by_hand(vocab, D, layers, H):
    """Every matrix of the specification's "One block", counted, with the default E, S, K, F, R."""
    E, S, K, R = D, D // H, D // H, max(16, D // 16)
    F = -(-(8 * D) // (3 * 64)) * 64
    block = D  # norm of u
    block += D * (E + H * K + (E + H * K) + 2 * H * S + 2 * H)  # z, v, g, q and k, beta and alpha
    block += D * R + R * E + E  # dynamic decay and its bias
    block += 2 * E  # w_g, c_g
    block += E + E * 2 * H * S  # norm of h, W_q and W_k
    block += H + K  # b_alpha, headnorm
    block += (E + H * K) * D  # W_out
    block += D + 3 * D * F  # feed-forward
    return vocab * D + layers * block + D


def test_the_table_is_the_specifications():
    assert _TABLE == {
        name: (c.vocab_size, c.model_dim, c.num_layers, c.num_memories, c.context)
        for name, c in SIZES.items()
    }


@pytest.mark.parametrize("name", _TABLE)
def test_every_size_has_the_shapes_and_parameters_it_should(name):
    config = SIZES[name]
    vocab, D, layers, H, _ = _TABLE[name]
    model, tokens = config.build(), jax.ShapeDtypeStruct((2, 3), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0))
    logits, state, *_ = jax.eval_shape(model.apply, params, tokens)
    assert count(params) == _parameters_by_hand(vocab, D, layers, H)
    assert (logits.shape, logits.dtype) == ((2, 3, vocab), jnp.float32)
    assert state.h.shape == (layers, 2, D)
    assert state.m.shape == (layers, 2, H, D // H, D // H)


def test_parameter_counts_are_what_the_names_say():
    counts = {name: _parameters_by_hand(*row[:4]) for name, row in _TABLE.items()}
    assert counts["tiny"] == 1_909_008
    assert 6.5e9 < counts["7b"] < 7.5e9
    assert list(counts.values()) == sorted(counts.values())


def test_the_state_is_as_large_as_the_formula_says():
    state = jax.eval_shape(lambda: zero_state(SIZES["base"], 1))
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)]
    assert sum(sizes) == 12 * (1024 + 8 * 128 * 128) * 4 + 2 * 4
    assert num_bytes(zero_state(SIZES["tiny"], 3)) == 3 * (4 * (128 + 4 * 32 * 32) * 4 + 2 * 4)
