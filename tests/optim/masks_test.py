import jax
import pytest

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import decay_mask
from mmrec_jax.train.state import joined
from mmrec_jax.tree import named_leaves
from tests.small_step import TOKENIZER

# Every leaf of a full model that decays: matrices only.
_DECAYED = {
    "embed/embedding",
    "blocks/project/fused/kernel",
    "blocks/dpg_down/kernel",
    "blocks/dpg_up/kernel",
    "blocks/qk/kernel",
    "blocks/out/kernel",
    "blocks/ffn/gate_value/kernel",
    "blocks/ffn/down/kernel",
    "objectives/uboo/kernel",
}
_KEPT = {
    "final_norm/scale",
    "blocks/norm/scale",
    "blocks/ffn_norm/scale",
    "blocks/h_norm/scale",
    "blocks/head_norm/scale",
    "blocks/b_gamma",
    "blocks/b_alpha",
    "blocks/w_g",
    "blocks/c_g",
}
_MODEL = MMRecConfig(model_dim=16, num_memories=2)


def test_matrices_decay_and_norms_biases_decays_and_gates_do_not():
    model, key = _MODEL.build(), jax.random.key(0)
    uboo = UBOOConfig().build(model, TOKENIZER)
    own = {"uboo": jax.eval_shape(lambda: uboo.init(key, model))}
    params = joined(jax.eval_shape(model.init, key), own)
    mask = decay_mask(model.decays)(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)
    assert {name for name, decays in named_leaves(mask).items() if decays} == _DECAYED
    assert {name for name, decays in named_leaves(mask).items() if not decays} == _KEPT


@pytest.mark.parametrize(
    "switches",
    [{"use_hem": False}, {"use_dpg": False}, {"gate": "input"}, {"memory": "none"}],
)
def test_every_variant_has_a_rule_for_each_leaf(switches):
    model = MMRecConfig(model_dim=16, num_memories=2, **switches).build()
    params = jax.eval_shape(model.init, jax.random.key(0))
    mask = decay_mask(model.decays)(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)


def test_a_leaf_without_a_rule_is_refused_by_name():
    with pytest.raises(ValueError, match="blocks/new_thing"):
        decay_mask(_MODEL.build().decays)({"blocks": {"new_thing": 1.0, "norm": {"scale": 1.0}}})
