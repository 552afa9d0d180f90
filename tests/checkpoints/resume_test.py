import dataclasses

import pytest

from mmrec_jax.checkpoints.resume import check_same_run, check_same_tokenizer
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.config_tree import to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.optim_config import OptimConfig

_CONFIG = Config(train=TrainConfig(steps=100))


def _changed(config=_CONFIG, **values):
    for name, value in values.items():
        group, field = name.split("__")
        inner = dataclasses.replace(getattr(config, group), **{field: value})
        config = dataclasses.replace(config, **{group: inner})
    return config


def test_the_same_config_continues():
    check_same_run(_CONFIG, to_dict(_CONFIG), "here")


def test_every_differing_field_is_named_with_both_values():
    now = _changed(model__model_dim=64, optim__lr=0.5, train__seed=3)
    with pytest.raises(UserError) as caught:
        check_same_run(now, to_dict(_CONFIG), "runs/a/checkpoints/7")
    message = str(caught.value)
    assert message.startswith("runs/a/checkpoints/7 belongs to another run: ")
    for part in (
        "config.model.model_dim (128 in the checkpoint, 64 now)",
        "config.optim.lr (0.003 in the checkpoint, 0.5 now)",
        "config.train.seed (0 in the checkpoint, 3 now)",
        "--fresh",
    ):
        assert part in message
    assert message.count("in the checkpoint") == 3


def test_a_checkpoint_older_than_a_field_has_its_value_of_then():
    saved = to_dict(_CONFIG)
    del saved["model"]["newton_passes"], saved["model"]["head_norm_epsilon"]
    check_same_run(_changed(model__head_norm_epsilon=1e-6), saved, "here")
    with pytest.raises(UserError, match=r"model\.head_norm_epsilon \(1e-06 in the checkpoint"):
        check_same_run(_CONFIG, saved, "here")


@pytest.mark.parametrize(
    "change",
    [
        {"optim__name": "other"},
        {"optim__b2": 0.9},
        {"optim__schedule": "linear"},
        {"train__steps": 200},
        {"train__batch_size": 16},
        {"train__accumulate": 2},
        {"train__carry_state": True},
        {"data__seq_len": 128},
        {"data__seed": 1},
        {"task__max_length": 20},
        {"tokenizer__kind": "byte"},
        {"model__dropout": 0.2},
    ],
)
def test_what_changes_the_result_is_refused(change):
    (name,) = change
    with pytest.raises(UserError, match=rf"config\.{name.replace('__', '.')} \("):
        check_same_run(_changed(**change), to_dict(_CONFIG), "here")


@pytest.mark.parametrize(
    "change",
    [
        {"data__on_error": "skip"},
        {"data__tfds_dir": "/elsewhere"},
        {"train__devices": 1},
        {"train__target_loss": 1.0},
        {"train__log_every": 1},
        {"train__eval_every": 7},
        {"train__sample_tokens": 0},
        {"train__checkpoint_every": 3},
        {"train__keep_last": 9},
        {"model__remat": "full"},
        {"model__newton_passes": None},
        {"task__eval_lengths": (7,)},
        {"task__eval_sequences": 3},
    ],
)
def test_what_does_not_change_the_result_is_free(change):
    check_same_run(_changed(**change), to_dict(_CONFIG), "here")


def test_the_length_is_free_without_a_schedule_that_depends_on_it():
    config = Config(optim=OptimConfig(schedule="constant"), train=TrainConfig(steps=100))
    check_same_run(_changed(config, train__steps=200), to_dict(config), "here")
    train = TrainConfig(steps=100, neftune_alpha=5.0, neftune_schedule="linear")
    noisy = dataclasses.replace(config, train=train)
    with pytest.raises(UserError, match=r"config\.train\.steps \(100 in the checkpoint"):
        check_same_run(_changed(noisy, train__steps=200), to_dict(noisy), "here")


@pytest.mark.parametrize("direction", ["field of a later version", "field of an earlier version"])
def test_a_field_that_only_one_side_has_is_named(direction):
    saved = to_dict(_CONFIG)
    if direction == "field of a later version":
        saved["optim"]["rho"] = 0.1
        expected = r"config\.optim\.rho \(0\.1 in the checkpoint, 'absent' now\)"
    else:
        del saved["optim"]["lr"]
        expected = r"config\.optim\.lr \('absent' in the checkpoint, 0\.003 now\)"
    with pytest.raises(UserError, match=expected):
        check_same_run(_CONFIG, saved, "here")


def test_another_tokenizer_is_refused():
    check_same_tokenizer("ab" * 32, "ab" * 32, "here")
    with pytest.raises(UserError, match=r"here was trained with another tokenizer \(cdcdcdcdcdcd"):
        check_same_tokenizer("ab" * 32, "cd" * 32, "here")
