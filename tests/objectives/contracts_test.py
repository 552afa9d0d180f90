"""The contract of every objective, on the smallest model that has what it needs."""

import chex
import jax
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.objectives.config import CrossEntropyConfig
from mmrec_jax.objectives.long_range import LongRangeConfig
from mmrec_jax.objectives.memory_consistency import MemoryConsistencyConfig
from mmrec_jax.objectives.sequence import SequenceConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig
from mmrec_jax.train.step import make_train_step
from tests.models.gru import GRUConfig
from tests.objectives.contracts import assert_objective
from tests.objectives.z_loss import ZLossConfig
from tests.small_step import (
    RECORDER,
    TOKENIZER,
    VOCABULARY,
    assert_close,
    batch,
    build,
    linear_model,
    mesh,
    on_mesh,
    start,
)

_GRU = GRUConfig(VOCABULARY, 8).build()
_MEMORY = linear_model(memory="delta", num_layers=1)
_CASES = {
    "cross_entropy": (CrossEntropyConfig(), _GRU),
    "vowel_harmony": (VowelHarmonyConfig(), _GRU),
    # What `family_test.py` trains with.
    "z_loss": pytest.param(ZLossConfig(), _GRU, marks=pytest.mark.soak),
    "long_range": (LongRangeConfig(reset_every=3), _GRU),
    "memory_consistency": (MemoryConsistencyConfig(reach=4), _MEMORY),
    "sequence": (SequenceConfig(prefixes=2, tokens=3, negatives=3), _GRU),
    "uboo": (UBOOConfig(orthogonal=True), linear_model()),
}


@pytest.mark.parametrize(("config", "model"), _CASES.values(), ids=_CASES)
def test_it_keeps_the_contract(config, model):
    assert_objective(config, model)


@pytest.mark.parametrize(
    "config", [UBOOConfig(), MemoryConsistencyConfig()], ids=["uboo", "memory_consistency"]
)
def test_a_model_without_what_it_needs_is_refused(config):
    objective = config.build(_GRU, TOKENIZER)
    with pytest.raises(UserError, match=config.group.replace(".", r"\.")):
        jax.eval_shape(lambda key: objective.init(key, _GRU), jax.random.key(0))


@pytest.mark.soak
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("axes", [{}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=["one", "2x2x2"])
def test_objectives_that_draw_and_reread_are_the_same_however_a_batch_is_cut(accumulate, axes):
    model = linear_model(memory="delta")
    if accumulate == 4 and axes:
        pytest.skip("two rows on four devices")
    names = ("long_range", "memory_consistency", "sequence")
    objectives = build(model, **{name: _CASES[name][0] for name in names})
    state = jax.jit(lambda: start(model, objectives))()
    expected, metrics = jax.jit(make_train_step(RECORDER, objectives))(model, state, batch())
    state, step = on_mesh(mesh(**axes), model, objectives, accumulate=accumulate)
    after, found = step(model, state, batch())
    assert_close(after.opt_state, expected.opt_state, 5e-5)
    chex.assert_trees_all_close(found, metrics, rtol=1e-5, atol=1e-5)
