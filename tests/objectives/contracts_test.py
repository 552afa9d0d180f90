"""The contract of every objective, on the smallest model that has what it needs."""

import jax
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.objectives.config import CrossEntropyConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig
from tests.models.gru import GRUConfig
from tests.objectives.contracts import assert_objective
from tests.objectives.z_loss import ZLossConfig
from tests.small_step import TOKENIZER, VOCABULARY, linear_model

_GRU = GRUConfig(VOCABULARY, 8).build()
_CASES = {
    "cross_entropy": (CrossEntropyConfig(), _GRU),
    "vowel_harmony": (VowelHarmonyConfig(), _GRU),
    "z_loss": (ZLossConfig(), _GRU),
    "uboo": (UBOOConfig(orthogonal=True), linear_model()),
}


@pytest.mark.parametrize(("config", "model"), _CASES.values(), ids=_CASES)
def test_it_keeps_the_contract(config, model):
    assert_objective(config, model)


def test_uboo_refuses_a_model_without_states():
    uboo = UBOOConfig().build(_GRU, TOKENIZER)
    with pytest.raises(UserError, match=r"config\.objectives\.uboo"):
        jax.eval_shape(lambda key: uboo.init(key, _GRU), jax.random.key(0))
