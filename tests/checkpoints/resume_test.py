import dataclasses

import pytest

from mmrec_jax.checkpoints.resume import as_begun, check_same_run, check_same_tokenizer
from mmrec_jax.config import Config, NoiseConfig, OptimConfig, TrainConfig
from mmrec_jax.config_tree import to_dict
from mmrec_jax.data.kinds.tasks import MqarConfig
from mmrec_jax.data.kinds.text import ManualConfig, TextConfig
from mmrec_jax.errors import UserError
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig

_CONFIG = Config(train=TrainConfig(steps=100))


def _changed(config=_CONFIG, **values):
    for name, value in values.items():
        group, _, field = name.partition("__")
        inner = dataclasses.replace(getattr(config, group), **{field: value}) if field else value
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


def test_an_older_run_goes_on_with_what_its_missing_field_was():
    saved = to_dict(_CONFIG)
    del saved["model"]["head_norm_epsilon"]
    config, kept = as_begun(_CONFIG, saved, "here")
    assert config == _changed(model__head_norm_epsilon=1e-6)
    assert kept == ["model.head_norm_epsilon=1e-06"]
    check_same_run(config, saved, "here")

    other = _changed(model__head_norm_epsilon=1e-3)
    assert as_begun(other, saved, "here") == (other, [])
    with pytest.raises(UserError, match=r"model\.head_norm_epsilon \(1e-06 in the checkpoint"):
        check_same_run(other, saved, "here")


@pytest.mark.parametrize(
    "begun",
    [
        {"objectives": Objectives(uboo=UBOOConfig(weight=0.5))},
        {"plugins": ("json",)},
        {"model__head_norm_epsilon": 1e-6},
    ],
)
def test_a_value_that_the_run_has_stored_is_not_taken_for_one_of_before_its_field(begun):
    config = _changed(objectives=Objectives(uboo=UBOOConfig()))
    assert as_begun(config, to_dict(_changed(config, **begun)), "here") == (config, [])


def test_a_stored_config_that_cannot_be_read_is_named_with_its_checkpoint():
    with pytest.raises(UserError, match=r"here: config\.optim\.rho"):
        as_begun(_CONFIG, to_dict(_CONFIG) | {"optim": {"rho": 1}}, "here")


def test_a_value_that_version_1_has_stored_elsewhere_is_not_taken_over():
    config = _changed(data=MqarConfig())
    saved = {"data": {"source": "mqar"}, "task": {"pairs": 4}, "train": {"steps": 100}}
    assert "data.pairs=4" not in as_begun(config, saved, "here")[1]


@pytest.mark.parametrize(
    "change",
    [
        {"optim__name": "lion"},
        {"optim__b2": 0.9},
        {"optim__schedule": "linear"},
        {"train__steps": 200},
        {"train__batch_size": 16},
        {"train__accumulate": 2},
        {"train__carry_state": True},
        {"data__seq_len": 128},
        {"data__seed": 1},
        {"data": ManualConfig()},
        {"objectives": Objectives(uboo=UBOOConfig())},
        {"tokenizer__kind": "byte"},
        {"model__dropout": 0.2},
    ],
)
def test_what_changes_the_result_is_refused(change):
    (name,) = change
    with pytest.raises(UserError, match=rf"config\.{name.replace('__', '.')}\b"):
        check_same_run(_changed(**change), to_dict(_CONFIG), "here")


@pytest.mark.parametrize(
    "change",
    [
        {"train__devices": 1},
        {"mesh__tensor": 2},
        {"train__target_loss": 1.0},
        {"train__log_every": 1},
        {"train__eval_every": 7},
        {"train__sample_tokens": 0},
        {"train__checkpoint_every": 3},
        {"train__keep_last": 9},
        {"model__remat": "full"},
    ],
)
def test_what_does_not_change_the_result_is_free(change):
    check_same_run(_changed(**change), to_dict(_CONFIG), "here")


@pytest.mark.parametrize(
    ("data", "free", "decisive"),
    [
        (
            TextConfig(train="a"),
            {"on_error": "skip", "train": "b", "validation": "c"},  # their content is compared
            {"documents": "line", "weights": (1.0, 2.0)},
        ),
        (
            MqarConfig(),
            {"eval_lengths": (7,), "eval_sequences": 3},
            {"max_length": 20, "pairs": 4},
        ),
    ],
)
def test_fields_of_data_that_do_not_change_what_is_learnt_are_free(data, free, decisive):
    config = dataclasses.replace(_CONFIG, data=data)
    saved = to_dict(config)
    check_same_run(_changed(config, **{f"data__{n}": x for n, x in free.items()}), saved, "here")
    for name, value in decisive.items():
        with pytest.raises(UserError, match=rf"config\.data\.{name} \("):
            check_same_run(_changed(config, **{f"data__{name}": value}), saved, "here")


def test_the_length_is_free_without_a_schedule_that_depends_on_it():
    config = Config(optim=OptimConfig(schedule="constant"), train=TrainConfig(steps=100))
    check_same_run(_changed(config, train__steps=200), to_dict(config), "here")
    noisy = dataclasses.replace(config, noise=NoiseConfig(alpha=5.0, schedule="linear"))
    with pytest.raises(UserError, match=r"config\.train\.steps \(100 in the checkpoint"):
        check_same_run(_changed(noisy, train__steps=200), to_dict(noisy), "here")


def test_the_base_is_free_with_adapters_alone():
    config = dataclasses.replace(_CONFIG, init_from="runs/a")
    moved = dataclasses.replace(config, init_from="/elsewhere/a")
    with pytest.raises(UserError, match=r"config\.init_from"):
        check_same_run(moved, to_dict(config), "here")
    config, moved = (_changed(c, adapters__kind="dora") for c in (config, moved))
    check_same_run(moved, to_dict(config), "here")


def test_a_field_that_the_checkpoint_lacks_had_its_default_then():
    saved = to_dict(_CONFIG)
    del saved["optim"]["lr"]
    check_same_run(_CONFIG, saved, "here")
    with pytest.raises(UserError, match=r"config\.optim\.lr \(0\.003 in the checkpoint, 0\.5 now"):
        check_same_run(_changed(optim__lr=0.5), saved, "here")


def test_a_field_that_the_checkpoint_alone_has_is_named():
    saved = to_dict(_CONFIG)
    saved["optim"]["rho"] = 0.1
    with pytest.raises(UserError, match=r"here: config\.optim\.rho"):
        check_same_run(_CONFIG, saved, "here")


def test_another_tokenizer_is_refused():
    check_same_tokenizer("ab" * 32, "ab" * 32, "here")
    with pytest.raises(UserError, match=r"here was trained with another tokenizer \(cdcdcdcdcdcd"):
        check_same_tokenizer("ab" * 32, "cd" * 32, "here")
