import dataclasses

import pytest

from mmrec_jax.config import Config
from mmrec_jax.config_tree import from_config_dict, to_config_dict
from mmrec_jax.errors import UserError
from mmrec_jax.optim_config import OptimConfig


def test_each_optimizer_has_its_own_defaults():
    def numbers(name):
        config = OptimConfig(name=name)
        return (config.B1, config.B2, config.EPS, config.GAMMA)

    assert numbers("adamw") == (0.9, 0.95, 1e-8, 0.0)
    assert numbers("sophia_g") == (0.965, 0.99, 1e-12, 0.05)
    assert numbers("sophia_h") == (0.965, 0.99, 1e-12, 0.01)
    chosen = OptimConfig(name="sophia_g", b1=0.5, b2=0.6, eps=0.7, gamma=0.8)
    assert (chosen.B1, chosen.B2, chosen.EPS, chosen.GAMMA) == (0.5, 0.6, 0.7, 0.8)


def test_another_optimizer_chosen_on_the_command_line_has_its_own_defaults():
    tree = to_config_dict(Config())
    tree.optim.name = "sophia_h"
    assert from_config_dict(tree).optim.B1 == 0.965
    tree.optim.b1 = 0.5
    assert from_config_dict(tree).optim.B1 == 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [("gamma", 0.0), ("hessian_every", 0), ("estimator_batch", 0.0), ("estimator_batch", 1.5)],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=rf"config\.optim\.{field} is .*; it must be"):
        OptimConfig(**{field: value})


def test_sophia_without_a_warm_up_is_refused():
    config = OptimConfig(name="sophia_g")
    with pytest.raises(UserError, match=r"config\.optim\.warmup_steps is 0; .* at least 1 with"):
        dataclasses.replace(config, warmup_steps=0)
    assert not OptimConfig(warmup_steps=0).uses_hessian
