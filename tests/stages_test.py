"""`config.stages`: what one may hold, as it is stored and typed."""

import dataclasses
import json

import pytest

from mmrec_jax.config import Config
from mmrec_jax.config_tree import from_dict, override, to_dict
from mmrec_jax.data.kinds.instructions import TreebankInstructionsConfig
from mmrec_jax.data.kinds.tasks import ParityConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.stages import StageConfig, staged
from tests.refused import refused

_STAGES = (
    StageConfig(step=5, seq_len=64, batch_size=4, objectives=(("uboo", ((5, 0.0), (9, 0.2))),)),
    StageConfig(epochs=2.5, lr_factor=0.5, data_weights=(1.0, 2.0), target_loss=2.0),
)
_DATA = TextConfig(train="a.txt,b.txt", weights=(3.0, 1.0))


def _config(*stages, **fields):
    objectives = Objectives(uboo=UBOOConfig(weight=0.1))
    return Config(**{"data": _DATA, "objectives": objectives, "stages": stages, **fields})


def test_they_survive_json_and_are_typed_as_dicts():
    config = _config(*_STAGES)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    typed = "[{'step': 5, 'seq_len': 64}, {'tokens': 1000, 'lr_factor': 0.5}]"
    expected = (StageConfig(step=5, seq_len=64), StageConfig(tokens=1000, lr_factor=0.5))
    assert override(Config(), [("stages", typed)]).stages == expected
    assert override(config, [("stages", "()")]).stages == ()


def test_what_a_stage_leaves_open_is_as_before():
    names, (before, first, second) = zip(*staged(_config(*_STAGES)), strict=True)
    assert names == ("", "config.stages[step=5]: ", "config.stages[epochs=2.5]: ")
    assert before == _config()
    assert (first.data.seq_len, first.train.batch_size) == (64, 4)
    assert first.objectives.uboo.weight == ((5, 0.0), (9, 0.2))
    assert first.data.weights == (3.0, 1.0)
    assert second == override(first, [("data.weights", "1,2")])


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ([{"step": 5, "seq_len": 0}], "config.stages[step=5].seq_len is 0"),
        ([{"epochs": 1.0, "lr_factor": "a"}], "config.stages[epochs=1.0].lr_factor is 'a'"),
        ([{"step": 5, "rate": 1}], "config.stages[0].rate is not a field"),
        ([{"step": 5, "tokens": 1}], "config.stages[step=5].step/tokens/epochs: step, tokens"),
        ([{"step": 5, "accumulate": 3}], "config.stages[step=5]: config.train.accumulate is 3"),
        ([{"step": 5, "objectives": [["harmony", 1]]}], "config.stages[step=5].objectives is"),
        ([{"step": 5, "objectives": [["uboo", -1]]}], "config.stages[step=5].objectives is"),
        ([{"step": 5, "data_weights": [0, 0]}], "config.stages[step=5]: config.data.weights is"),
        ([5], "config.stages[0] is 5"),
        (5, "config.stages is 5"),
    ],
)
def test_a_mistake_names_the_stage_and_the_field(stages, named):
    plain = {**to_dict(_config()), "stages": stages}
    refused(lambda: from_dict(plain), named)


def test_what_the_data_cannot_change_on_the_way_is_refused():
    stage = StageConfig(step=5, data_weights=(1.0,))
    refused(lambda: _config(stage, data=TextConfig(train="a.txt")), "data_weights")
    timed = dataclasses.replace(_DATA, weights=((1, (1.0, 1.0)), (9, (1.0, 2.0))))
    refused(lambda: _config(StageConfig(step=5), data=timed), "config.data.weights is ((1,")
    stage = StageConfig(step=5, seq_len=64)
    assert [each.data.weights for _, each in staged(_config(stage, data=ParityConfig()))] == [
        (),
        (),
    ]
    refused(lambda: _config(stage, data=TreebankInstructionsConfig()), "[step=5].seq_len is 64")
