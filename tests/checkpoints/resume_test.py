import dataclasses

import pytest

from mmrec_jax.checkpoints.resume import check_same_run, check_same_tokenizer
from mmrec_jax.config import Config, NoiseConfig, OptimConfig, TrainConfig
from mmrec_jax.config_tree import to_dict
from mmrec_jax.data.kinds.tasks import MqarConfig
from mmrec_jax.data.kinds.text import ManualConfig, PreparedConfig, TextConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.stages import StageConfig
from tests.refused import refused

_CONFIG = Config(train=TrainConfig(steps=100))
_TEXT = dataclasses.replace(_CONFIG, data=TextConfig(train="a"))
_PREPARED = dataclasses.replace(_CONFIG, data=PreparedConfig(train="a"))
_TASK = dataclasses.replace(_CONFIG, data=MqarConfig())
_CONSTANT = dataclasses.replace(_CONFIG, optim=OptimConfig(schedule="constant"))
_NOISY = dataclasses.replace(_CONSTANT, noise=NoiseConfig(alpha=5.0, schedule="linear"))
_BASED = dataclasses.replace(_CONFIG, init_from="runs/a")


def _changed(config=_CONFIG, **values):
    for name, value in values.items():
        group, _, field = name.partition("__")
        inner = dataclasses.replace(getattr(config, group), **{field: value}) if field else value
        config = dataclasses.replace(config, **{group: inner})
    return config


def test_every_differing_field_is_named_with_both_values():
    now = _changed(model__model_dim=64, optim__lr=0.5, train__seed=3)
    refused(
        lambda: check_same_run(now, to_dict(_CONFIG), "runs/a/checkpoints/7"),
        "runs/a/checkpoints/7 belongs to another run: ",
        "config.model.model_dim (128 in the checkpoint, 64 now)",
        "config.optim.lr (0.003 in the checkpoint, 0.5 now)",
        "config.train.seed (0 in the checkpoint, 3 now). ",
        "--fresh",
    )


@pytest.mark.parametrize(
    ("begun", "change"),
    [
        (_CONFIG, {"optim__name": "lion"}),
        (_CONFIG, {"optim__b2": 0.9}),
        (_CONFIG, {"optim__schedule": "linear"}),
        (_CONFIG, {"train__steps": 200}),
        (_NOISY, {"train__steps": 200}),
        (_CONFIG, {"train__batch_size": 16}),
        (_CONFIG, {"train__accumulate": 2}),
        (_CONFIG, {"train__carry_state": True}),
        (_CONFIG, {"data__seq_len": 128}),
        (_CONFIG, {"data__seed": 1}),
        (_CONFIG, {"data": ManualConfig()}),
        (_TEXT, {"data__documents": "line"}),
        (_TASK, {"data__max_length": 20}),
        (_CONFIG, {"objectives": Objectives(uboo=UBOOConfig())}),
        (_CONFIG, {"tokenizer__kind": "byte"}),
        (_CONFIG, {"model__dropout": 0.2}),
        (_BASED, {"init_from": "/elsewhere/a"}),
    ],
)
def test_what_changes_the_result_is_refused(begun, change):
    (name,) = change
    now = _changed(begun, **change)
    field = f"config.{name.replace('__', '.')}"
    refused(lambda: check_same_run(now, to_dict(begun), "here"), "here", field)


@pytest.mark.parametrize(
    ("begun", "change"),
    [
        (_CONFIG, {}),
        (_CONFIG, {"train__devices": 1, "mesh__tensor": 2}),
        (_CONFIG, {"train__target_loss": 1.0, "train__log_every": 1, "train__eval_every": 7}),
        (_CONFIG, {"train__sample_tokens": 0, "train__checkpoint_every": 3, "train__keep_last": 9}),
        (_CONFIG, {"model__remat": "full"}),
        (_TEXT, {"data__on_error": "skip", "data__train": "b"}),
        (_PREPARED, {"data__train": "b"}),
        (_TASK, {"data__eval_lengths": (7,), "data__eval_sequences": 3}),
        (_CONSTANT, {"train__steps": 200}),  # no schedule depends on it
        (_changed(_BASED, adapters__kind="dora"), {"init_from": "/elsewhere/a"}),
    ],
)
def test_what_does_not_change_the_result_is_free(begun, change):
    check_same_run(_changed(begun, **change), to_dict(begun), "here")


def test_a_field_that_the_checkpoint_lacks_had_its_value_of_then():
    saved = to_dict(_CONFIG)
    del saved["optim"]["lr"], saved["model"]["head_norm_epsilon"]
    check_same_run(_changed(model__head_norm_epsilon=1e-6), saved, "here")
    refused(
        lambda: check_same_run(_changed(optim__lr=0.5), saved, "here"),
        "config.optim.lr (0.003 in the checkpoint, 0.5 now)",
        "config.model.head_norm_epsilon (1e-06 in the checkpoint",
    )


def test_a_field_that_the_checkpoint_alone_has_is_named():
    saved = to_dict(_CONFIG) | {"optim": {"rho": 0.1}}
    refused(lambda: check_same_run(_CONFIG, saved, "here"), "here: config.optim.rho")


def test_another_tokenizer_is_refused():
    check_same_tokenizer("ab" * 32, "ab" * 32, "here")
    refused(lambda: check_same_tokenizer("ab" * 32, "cd" * 32, "here"), "here", "cdcdcdcdcdcd")


def test_of_the_stages_those_are_kept_that_have_begun():
    first, second = StageConfig(step=5, seq_len=64), StageConfig(step=50, lr_factor=0.5)
    saved, moved = to_dict(_changed(stages=(first, second))), StageConfig(step=20, lr_factor=0.1)
    for stages in ((first,), (first, moved), (first, second, StageConfig(step=70))):
        check_same_run(_changed(stages=stages), saved, "here", begun=1)
    reached = dataclasses.replace(first, target_loss=1.0)
    check_same_run(_changed(stages=(reached,)), saved, "here", begun=1)
    for stages, field in (((), "seq_len (64"), ((moved,), "step (5 "), ((second,), "step (5 ")):
        now = _changed(stages=stages)
        refused(lambda now=now: check_same_run(now, saved, "here", begun=1), f"stages[0].{field}")
    now = _changed(stages=(first, moved))
    refused(lambda: check_same_run(now, saved, "here", begun=2), "config.stages[1].lr_factor (0.5 ")
