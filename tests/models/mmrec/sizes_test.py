import dataclasses

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.models.mmrec.state import zero_state
from mmrec_jax.tree import count, num_bytes


def _parameters_by_hand(vocab, D, layers, H):
    """Every matrix of a block, counted, with the default E, S, K, F, R."""
    E, S, K, R = D, D // H, D // H, max(16, D // 16)
    F = -(-(11 * D) // (3 * 64)) * 64
    block = D  # norm of u
    block += D * (E + H * K + (E + H * K) + 2 * H)  # z, v, g, beta and alpha
    block += D * R + R * E + E  # dynamic decay and its bias
    block += 2 * E  # w_g, c_g
    block += E + E * H * S  # norm of h, addresses
    block += H + K  # b_alpha, headnorm
    block += (E + H * K) * D  # W_out
    block += D + 3 * D * F  # feed-forward
    return vocab * D + layers * block + D


# The specification's table: vocabulary, D, layers, H.
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("tiny", (5_000, 128, 4, 4)),
        ("mini", (10_000, 256, 6, 4)),
        ("small", (20_000, 512, 8, 8)),
        ("base", (32_000, 1024, 12, 8)),
        ("medium", (32_000, 2048, 16, 16)),
        ("large", (32_000, 3072, 20, 24)),
        ("7b", (32_000, 4096, 24, 32)),
    ],
)
def test_every_size_has_the_shapes_and_parameters_it_should(name, row):
    vocab, D, layers, H = row
    model, key = SIZES[name].build(), jax.random.key(0)
    params = jax.eval_shape(model.init, key)
    assert count(params) == _parameters_by_hand(*row)
    assert params["embed"]["embedding"].shape == (vocab, D)
    state = jax.eval_shape(lambda: zero_state(SIZES[name], 2))
    assert state.h.shape == (layers, 2, D)
    assert state.m.shape == (layers, 2, H, D // H, D // H)
    assert state.h.dtype == state.m.dtype == jnp.float32
    assert num_bytes(state) == 2 * (layers * (D + H * (D // H) ** 2) * 4 + 2 * 4)
    if name in ("tiny", "7b"):
        assert count(params) == pytest.approx({"tiny": 1_909_008, "7b": 7e9}[name], rel=0.08)


def test_how_much_of_a_row_is_read_at_once_fits_the_device():
    base = SIZES["base"]
    assert [base.fitted(4, x).time_chunk for x in ("cpu", "tpu", "gpu")] == [256, None, 4096]
    assert [base.fitted(rows, "gpu").time_chunk for rows in (1, 1000)] == [16_384, 512]
    assert dataclasses.replace(base, time_chunk=7).fitted(4, "gpu").time_chunk == 7
