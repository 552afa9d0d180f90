"""Whole sessions in this process, with a model that compiles in a moment."""

import contextlib
import io
import json

import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.errors import UserError
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from tests.small_run import begin, linear_config

_SHORT = {"train__steps": 4, "train__sample_tokens": 0}


def _metrics(folder, split):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """A run to its end that is traced and samples, and what it said."""
    folder = tmp_path_factory.mktemp("run") / "deep" / "run"
    config = linear_config(
        text,
        train__steps=6,
        train__log_every=2,
        train__eval_every=4,
        train__checkpoint_every=2,
        train__profile_steps=9,  # more than there are before the evaluation
        train__sample_prompt="göl ",
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(config, folder) == 0
    (folder.parent / "said.txt").write_text(said.getvalue(), "utf-8")
    return folder


def test_a_sample_is_shown_with_its_prompt(finished):
    said = (finished.parent / "said.txt").read_text("utf-8").split("\n")
    assert sum(line.startswith("  writes: göl") for line in said) == 2


def test_a_run_leaves_every_file_the_specification_lists(finished):
    place = Workdir(finished)
    assert place.loss_curve.read_bytes().startswith(b"\x89PNG")
    assert list(place.tensorboard.iterdir())
    assert place.tokenizer.is_dir()
    assert place.read_config()[1] == 258
    assert list(place.profile.rglob("*.xplane.pb"))
    samples = sorted(place.samples.iterdir())
    assert [path.name for path in samples] == ["step_0000004.txt", "step_0000006.txt"]
    assert all(path.read_text("utf-8").startswith("göl ") for path in samples)


def test_metrics_are_logged_when_asked_for_and_at_the_end(finished, text):
    train, validation = _metrics(finished, "train"), _metrics(finished, "validation")
    assert [line["step"] for line in train] == [2, 4, 6]
    assert [line["step"] for line in validation] == [4, 6]
    assert {"loss", "grad_norm", "tokens_per_second", "flop_utilisation"} <= train[0].keys()
    numbers = {"loss", "perplexity", "bits_per_byte", "bits_per_character"}
    assert numbers <= validation[0].keys()
    assert validation[1]["loss"] < validation[0]["loss"] < 5.6


def test_the_same_command_after_the_end_changes_nothing(finished, text, capsys):
    before = (finished / "metrics.jsonl").read_text()
    config = Workdir(finished).read_config()[0]
    assert run(config, finished) == 0
    assert (finished / "metrics.jsonl").read_text() == before
    out = capsys.readouterr().out
    assert "done: step 6" in out
    assert f"mmrec generate --workdir={finished} --prompt 'göl '" in out
    assert "compiled" not in out


def test_a_run_stops_at_its_target_and_stays_stopped(text, tmp_path, capsys):
    target = {**_SHORT, "train__eval_every": 2, "train__target_loss": 50.0}
    assert run(linear_config(text, **target), tmp_path) == 0
    assert "done: step 2" in capsys.readouterr().out
    assert run(linear_config(text, **target), tmp_path) == 0
    assert "done: step 2" in capsys.readouterr().out
    lower = {**target, "train__target_loss": 0.01}
    assert run(linear_config(text, **lower), tmp_path) == 0
    assert [line["step"] for line in _metrics(tmp_path, "validation")] == [2, 4]


def test_a_run_too_short_to_be_traced_is_no_error(text, tmp_path):
    short = {"train__steps": 2, "train__sample_tokens": 0, "train__profile_steps": 1}
    assert run(linear_config(text, **short), tmp_path) == 0
    assert not (tmp_path / "profile").exists()


def test_a_shorter_length_than_what_is_done_ends_at_once(text, tmp_path, capsys):
    """Also when no evaluation has been made yet."""
    options = {"optim__schedule": "constant", "train__eval_every": 100, "train__sample_tokens": 0}
    config = linear_config(text, train__steps=50, **options)
    begin(config, tmp_path, step=3)
    assert run(linear_config(text, train__steps=2, **options), tmp_path) == 0
    assert "done: step 3, validation not evaluated yet" in capsys.readouterr().out


def test_fresh_forgets_the_run_only_when_the_new_one_can_begin(text, tmp_path):
    config = linear_config(text, **_SHORT)
    run(config, tmp_path)
    broken = linear_config(text, **_SHORT, model__vocab_size=10)
    with pytest.raises(UserError, match=r"config\.model\.vocab_size is 10"):
        run(broken, tmp_path, fresh=True)
    assert set_up(config, tmp_path, fresh=False).start == 4
    other = linear_config(text, **_SHORT, train__seed=5)
    assert set_up(other, tmp_path, fresh=True).start == 0


@pytest.mark.parametrize(("unit", "amount"), [("epochs", 2), ("tokens", 12_000)])
def test_a_length_in_epochs_or_tokens_predicts_that_many(text, tmp_path, unit, amount):
    config = linear_config(text, **{f"train__{unit}": amount})
    prepared = set_up(config, tmp_path, fresh=False)
    wanted = amount * prepared.data.train[0].num_pairs if unit == "epochs" else amount
    batches = prepared.data.batches(config.train.batch_size)
    counts = [int((next(batches)["segment_ids"] > 0).sum()) for _ in range(prepared.steps)]
    assert abs(sum(counts) - wanted) <= 0.02 * wanted + max(counts)


def test_a_sample_prompt_that_cannot_be_spelled_is_refused_before_training(text, tmp_path):
    config = linear_config(
        text, **_SHORT, tokenizer__kind="char", train__sample_prompt="göl ☃", train__eval_every=2
    )
    with pytest.raises(UserError, match=r"config\.train\.sample_prompt: .*U\+2603"):
        set_up(config, tmp_path, fresh=False)


def test_a_workdir_in_a_folder_that_is_read_is_refused(text, tmp_path):
    config = linear_config(tmp_path)
    with pytest.raises(UserError, match=r"--workdir .*/run lies in the folder .* of config\.data"):
        set_up(config, tmp_path / "run", fresh=False)


def test_a_workdir_that_cannot_be_made_is_one_line(text, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--workdir .*/file/run: Not a directory"):
        run(linear_config(text, **_SHORT), tmp_path / "file" / "run")
