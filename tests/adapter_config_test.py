import pytest

from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.errors import UserError
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.train.adapter_rules import adapter_rules


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rank": 0}, "config.adapters.rank is 0; it must be at least 1"),
        ({"alpha": 0.0}, "config.adapters.alpha is 0.0; it must be above 0"),
        ({"dropout": 1.0}, r"config.adapters.dropout is 1.0; it must be in \[0, 1\)"),
        ({"dropout": 0.1, "path": "apply"}, 'must be zero with adapters.path "apply"'),
        ({"pattern": "("}, "config.adapters.pattern is '\\('; it must be \"all-linear\" or a reg"),
        ({"embedding_rows": "3-"}, "config.adapters.embedding_rows is '3-'; it must be rows such"),
        ({"embedding_rows": "5-3"}, "config.adapters.embedding_rows is '5-3'"),
        ({"embedding_rows": "5-9,7"}, "is '5-9,7'; it must be rows that are each named once"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(fields, expected):
    with pytest.raises(UserError, match=expected):
        AdapterConfig(kind="dora", **fields)


@pytest.mark.parametrize("fields", [{"dropout": 0.1}, {"embedding_rows": "3"}])
def test_fields_of_adapters_are_refused_where_there_are_none(fields):
    (name,) = fields
    with pytest.raises(UserError, match=rf"config\.adapters\.{name} is .* trains every parameter"):
        AdapterConfig(kind="none", **fields)


def test_muon_is_refused_with_adapters():
    with pytest.raises(UserError, match=r"config\.optim\.name is 'muon'; it must be another one"):
        Config(
            init_from="runs/a",
            adapters=AdapterConfig(kind="lora"),
            optim=OptimConfig(name="muon"),
            train=TrainConfig(steps=1),
        )


def test_adapters_need_a_base():
    with pytest.raises(UserError, match=r"config\.init_from is ''; .*adapters\.kind"):
        Config(adapters=AdapterConfig(kind="dora"), train=TrainConfig(steps=1))


def test_the_config_becomes_rules():
    assert adapter_rules(AdapterConfig()) == ()
    (rule,) = adapter_rules(AdapterConfig(kind="rslora", rank=4, alpha=8.0))
    assert (rule.rank, rule.scale, rule.kind) == (4, 4.0, "rslora")
    kernels, rows = adapter_rules(
        AdapterConfig(kind="dora", pattern="ffn|out", embedding_rows="3,7-9")
    )
    assert kernels.pattern == "ffn|out"
    assert rows.ranges == ((3, 3), (7, 9))
