"""The contract of every family, one part at a time."""

import functools

import pytest

from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.transformer.config import TransformerConfig
from tests.models.contracts import CONTRACTS, Case
from tests.models.gru import GRUConfig

_MMREC = {"vocab_size": 20, "model_dim": 16, "num_layers": 2, "num_memories": 2, "chunk": 4}
_FAMILIES = {
    "mmrec": MMRecConfig(**_MMREC, remat="none"),
    "mmrec input": MMRecConfig(**_MMREC, remat="none", gate="input", memory="decay", new_rows=4),
    "attention": AttentionConfig(20, 16, 2, 2, 32, new_rows=4),
    "gru": GRUConfig(20, 8),
    "transformer": TransformerConfig(20, 16, 2, head_dim=8, ffn_dim=32, remat="dots"),
    "transformer untied": TransformerConfig(
        **{"vocab_size": 20, "model_dim": 16, "num_layers": 2, "head_dim": 8, "ffn_dim": 32}
        | {"qk_norm": True, "attention_bias": "qkv", "tie_embeddings": False, "new_rows": 4}
    ),
}
_case = functools.cache(lambda name: Case(_FAMILIES[name].build()))


# Of families that have two cases, what is compiled for itself alone is quick for one of them.
_SECOND = ("mmrec input", "transformer")
_COMPILED = ("tokens_see_their_document", "adapters_change_nothing")


def _part(name, contract):
    part = contract.__name__.strip("_")
    soak = name in _SECOND and part.startswith(_COMPILED)
    marks = pytest.mark.soak if soak else ()
    return pytest.param(name, contract, marks=marks, id=f"{part}-{name}")


@pytest.mark.parametrize(
    ("name", "contract"), [_part(name, each) for each in CONTRACTS for name in _FAMILIES]
)
def test_it_keeps_the_contract(name, contract):
    contract(_case(name))
