"""Stages of a run: their steps, their programs, and what goes on across their borders."""

import dataclasses
import functools
import itertools
import shutil
from types import SimpleNamespace

import jax
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.stages import StageConfig
from mmrec_jax.train import compiled_steps
from mmrec_jax.train.loop import _Loop, run
from mmrec_jax.train.mesh import shard_batch
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.stages import plan_stages
from mmrec_jax.train.state import to_items
from mmrec_jax.train.step import make_train_step
from tests.refused import refused
from tests.small_run import assert_same_run, linear_config, metrics, session_text
from tests.small_step import assert_close

_BORDERS = (
    {"step": 4, "seq_len": 64, "batch_size": 4, "lr_factor": 0.5},
    # The shape of the beginning.
    {
        "step": 8,
        "seq_len": 32,
        "batch_size": 8,
        "lr_factor": 1.0,
        "objectives": [("cross_entropy", 0.5)],
    },
)


def _config(stages=_BORDERS, **fields):
    fields = {
        "train__steps": 12,
        "train__eval_every": 20,
        "train__checkpoint_every": 2,
        "train__keep_last": 9,
        "train__sample_tokens": 0,
        "train__state_passing": 0.5,
        "optim__schedule": "constant",
        **fields,
    }
    return linear_config(session_text(), stages=list(stages), **fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run over both borders, and how often programs were compiled."""
    folder, compiled = tmp_path_factory.mktemp("whole"), []
    lower_step = compiled_steps.lower_step

    def counted(config, *parts):
        compiled.append((config.train.batch_size, config.data.seq_len))
        return lower_step(config, *parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_steps, "lower_step", counted)
        assert run(_config(), folder) == 0
    return folder, compiled


def test_no_shape_is_compiled_twice_and_metrics_say_the_stage(whole):
    folder, compiled = whole
    assert compiled == [(8, 32), (4, 64)]
    lines = metrics(folder, "train")
    assert [line["stage"] for line in lines] == [0] * 4 + [1] * 4 + [2] * 4
    epochs = [line["epochs"] for line in lines]
    assert all(0 < b - a < 0.09 for a, b in itertools.pairwise(epochs))
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5


def test_a_stage_is_the_run_continued_by_hand_with_its_settings(whole, tmp_path):
    folder, _ = whole
    shutil.copytree(folder, tmp_path / "run")
    p = set_up(_config(), tmp_path / "run", fresh=False, resume_step=4)
    assert p.stage.number == 0
    stage, read, state = p.stages[1], p.batches.progress(), p.state
    batches = p.data.with_config(stage.config.data).batches(4, read=read)
    halved = dataclasses.replace(p.config.optim, lr=0.5 * p.config.optim.lr)
    optimizer = build_optimizer(halved, p.steps, p.model.decays)
    step = jax.jit(make_train_step(optimizer, p.objectives, 1, lambda step: 0.5))
    # With fewer rows there are no states to pass on.
    state = dataclasses.replace(state, carried=p.model.initial_state(4))
    for batch in itertools.islice(batches, 4):
        assert batch["inputs"].shape == (4, 64)
        state, _ = step(p.model_of(stage), state, shard_batch(batch, p.mesh))
    saved = Checkpointer(folder / "checkpoints", read_only=True)
    expected, _ = saved.restore(8, to_items(p.abstract_state(stage)))
    assert_close(to_items(state), expected, 1e-5)


def test_a_run_continued_inside_a_stage_is_the_run_in_one(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    assert run(_config(), tmp_path / "run", resume_step=6) == 0
    assert_same_run(_config(), whole[0], tmp_path / "run")


@pytest.mark.parametrize(
    ("step", "number", "loss", "following", "ends"),
    [
        (3, 0, 1.0, None, False),  # the beginning has no target
        (4, 0, 9.0, 1, False),
        (6, 1, 9.0, None, False),
        (6, 1, 2.0, 2, False),  # early
        (8, 1, 2.0, 2, False),
        (7, 2, 2.1, None, False),
        (7, 2, 2.0, None, True),
        (30, 0, 9.0, 2, False),  # stages that were added to a run
    ],
)
def test_which_stage_follows_a_step(step, number, loss, following, ends):
    targets = {"target_loss": 2.0}
    stages, _ = _planned({"step": 4, **targets}, {"step": 8, **targets}, data=_data(), steps=40)
    setup = SimpleNamespace(config=Config(), stages=stages, stage=stages[number])
    loop = SimpleNamespace(p=setup, validation={"loss": loss})
    loop._reached = functools.partial(_Loop._reached, loop)
    found = _Loop._following(loop, step)
    assert (found and found.number) == following
    assert _Loop._reached_target(loop) == ends


@pytest.mark.soak
def test_at_its_target_a_stage_gives_way_to_the_next_and_the_last_ends_the_run(tmp_path):
    """Evaluations are at steps 2 and 4."""
    stages = (
        {"step": 0, "target_loss": 50.0},
        {"step": 9, "target_loss": 50.0, "lr_factor": 0.1},
    )
    config = _config(stages, train__eval_every=2)
    for _ in range(2):  # it stays ended
        assert run(config, tmp_path) == 0
        assert [line["stage"] for line in metrics(tmp_path, "train")] == [1, 1, 2, 2]
    assert set_up(config, tmp_path, fresh=False).stage.number == 2


def _data(tokens_per_epoch=1000, evaluators=("loss",)):
    """A step of n rows of T tokens predicts n T."""
    data = SimpleNamespace(tokens_per_epoch=tokens_per_epoch, evaluators=evaluators)

    def with_config(config):
        return SimpleNamespace(tokens_per_step=lambda rows: rows * config.seq_len)

    data.with_config = with_config
    return data


def _planned(*stages, data=None, **length):
    train = TrainConfig(batch_size=2, **length)
    config = Config(train=train, stages=tuple(StageConfig(**each) for each in stages))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, seq_len=10))
    return plan_stages(config, data or _data())


def test_tokens_and_epochs_become_steps_by_what_each_stage_reads():
    """20 tokens a step, then 40, then 80."""
    stages, steps = _planned(
        {"tokens": 100, "seq_len": 20}, {"epochs": 0.5, "batch_size": 4}, {"step": 20}, tokens=2101
    )
    assert [stage.begin for stage in stages] == [0, 5, 15, 20]
    assert steps == 20 + 1 + (2101 - 100 - 400 - 400 - 1) // 80


@pytest.mark.parametrize(
    ("stages", "length", "data", "parts"),
    [
        ([{"step": 5}, {"step": 5}], {"steps": 9}, None, ["[step=5].step is 5", "after step 5"]),
        ([{"step": 5}], {"steps": 5}, None, ["[step=5].step is 5", "end of the run, step 5"]),
        ([{"step": 5}, {"tokens": 99}], {"steps": 50}, None, ["[tokens=99].tokens", "step 5"]),
        ([{"epochs": 1.0}], {"steps": 500}, _data(None), ["[epochs=1.0].epochs is 1.0"]),
        ([], {"epochs": 1.0}, _data(None), ["config.train.epochs is 1.0", "steps"]),
        (
            [{"step": 5, "target_loss": 1.0}],
            {"steps": 9},
            _data(evaluators=()),
            ["[step=5].target_loss is 1.0"],
        ),
    ],
)
def test_what_does_not_suit_the_data_names_the_stage(stages, length, data, parts):
    refused(lambda: _planned(*stages, data=data, **length), *parts)
