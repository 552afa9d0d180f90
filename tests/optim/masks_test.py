import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.optim.masks import decay_mask
from mmrec_jax.tree import leaf_names
from tests.small_run import small_model

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
    "blocks/uboo/kernel",
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


def _params(**changes):
    model = MMRecLM(small_model(**changes))
    tokens = jnp.zeros((1, 2), jnp.int32)
    return jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]


def test_matrices_decay_and_norms_biases_decays_and_gates_do_not():
    params = _params(use_uboo=True)
    mask = dict(zip(leaf_names(params), jax.tree.leaves(decay_mask(params)), strict=True))
    assert {name for name, decays in mask.items() if decays} == _DECAYED
    assert {name for name, decays in mask.items() if not decays} == _KEPT


@pytest.mark.parametrize(
    "switches",
    [{"use_hem": False}, {"use_dpg": False}, {"gate": "input"}, {"memory": "none"}],
)
def test_every_variant_has_a_rule_for_each_leaf(switches):
    params = _params(**switches)
    mask = decay_mask(params)
    assert jax.tree.structure(mask) == jax.tree.structure(params)


def test_a_leaf_without_a_rule_is_refused_by_name():
    with pytest.raises(ValueError, match="blocks/new_thing has no rule"):
        decay_mask({"blocks": {"new_thing": 1.0, "norm": {"scale": 1.0}}})
