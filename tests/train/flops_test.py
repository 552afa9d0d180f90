import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.model import MMRecLM, count_parameters
from mmrec_jax.objectives.cross_entropy import weighted_nats
from mmrec_jax.train.flops import matmul_flops_per_second, training_flops_per_token


def test_the_formula_by_hand():
    config = MMRecConfig(num_layers=3, num_memories=2, memory_slots=5, mem_dim=7)
    # A write, a read and the prediction it corrects: 2 S K each, and twice more for the gradient.
    assert training_flops_per_token(config, 1000) == 6 * 1000 + 3 * 2 * (3 * 2 * 5 * 7) * 3
    assert training_flops_per_token(MMRecConfig(memory="none"), 1000) == 6000
    assert training_flops_per_token(MMRecConfig(memory="none"), 10, frozen=1000) == 4060


def test_the_formula_is_what_the_compiler_counts_where_matrix_products_dominate():
    """One loop body stands for all layers there, so one layer is compared."""
    config = MMRecConfig(
        vocab_size=512, model_dim=128, num_layers=1, memory="none", gate="none", remat="none"
    )
    model, tokens = MMRecLM(config), jax.ShapeDtypeStruct((4, 64), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]

    def loss(params, tokens):
        logits, _, _ = model.apply({"params": params}, tokens)
        return weighted_nats(logits, tokens, jnp.ones(tokens.shape))

    lowered = jax.jit(jax.grad(loss)).lower(params, tokens)
    counted = lowered.cost_analysis()["flops"] / (4 * 64)
    assert counted == pytest.approx(
        training_flops_per_token(config, count_parameters(params)), rel=0.25
    )


def test_the_measured_rate_is_one_a_machine_can_have():
    assert 1e8 < matmul_flops_per_second("float32") < 1e16
