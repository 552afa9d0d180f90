import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.cross_entropy import weighted_nll
from mmrec_jax.train.monitor import matmul_flops_per_second, training_flops_per_token
from mmrec_jax.tree import count
from tests.models.gru import GRUConfig


def test_the_formula_by_hand():
    # A write, a read and the prediction it corrects: 2 S K each, and twice more for the gradient.
    memory = MMRecConfig(num_layers=3, num_memories=2, memory_slots=5, mem_dim=7).build()
    assert training_flops_per_token(memory, 1000, 0, 64) == 6000 + 3 * 2 * (3 * 2 * 5 * 7) * 3
    attention = AttentionConfig(model_dim=16, num_layers=3, num_heads=2).build()
    # Of each token, half of the row: products of scores and of mixtures, 2 D each.
    assert training_flops_per_token(attention, 0, 0, 64) == 3 * 3 * (64 / 2) * 2 * (2 * 16)
    assert training_flops_per_token(GRUConfig().build(), 10, 1000, 64) == 4060


def test_the_formula_is_what_the_compiler_counts_where_matrix_products_dominate():
    """One loop body stands for all layers there, so one layer is compared."""
    config = MMRecConfig(
        vocab_size=512, model_dim=128, num_layers=1, memory="none", gate="none", remat="none"
    )
    model, tokens = config.build(), jax.ShapeDtypeStruct((4, 64), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0))

    def loss(params, tokens):
        return weighted_nll(model.apply(params, tokens).logits, tokens, jnp.ones(tokens.shape))

    lowered = jax.jit(jax.grad(loss)).lower(params, tokens)
    counted = lowered.cost_analysis()["flops"] / (4 * 64)
    expected = training_flops_per_token(model, count(params), 0, 64)
    assert counted == pytest.approx(expected, rel=0.25)


def test_the_measured_rate_is_one_a_machine_can_have():
    assert 1e8 < matmul_flops_per_second("float32") < 1e16
