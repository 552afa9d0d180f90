"""Whole sessions in this process, with a model that compiles in a moment."""

import contextlib
import io

import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train import loop, report
from mmrec_jax.train.loop import run
from mmrec_jax.train.monitor import matmul_flops_per_second
from mmrec_jax.train.report import draw_loss
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.writer import read_metrics
from tests.refused import refused
from tests.small_run import begin, linear_config, session_text

_SHORT = {"train__steps": 4, "train__sample_tokens": 0}


def _config(**fields):
    return linear_config(session_text(), **{**_SHORT, **fields})


def _lines(folder, split):
    return [line for line in read_metrics(folder / "metrics.jsonl") if line["split"] == split]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run to its end that is traced and samples, and what it said."""
    folder = tmp_path_factory.mktemp("run") / "deep" / "run"
    config = _config(
        train__steps=6,
        train__log_every=2,
        train__eval_every=4,
        train__checkpoint_every=2,
        train__profile_steps=9,  # more than there are before the evaluation
        train__sample_prompt="göl ",
        train__sample_tokens=4,
    )
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw_loss", draw_loss)  # which conftest.py leaves out
        patch.setattr(loop, "matmul_flops_per_second", matmul_flops_per_second)
        assert loop.run(config, folder) == 0
    return folder, said.getvalue()


def test_a_run_leaves_every_file_and_logs_when_asked_for(finished):
    folder, said = finished
    assert sum(line.startswith("  writes: göl") for line in said.split("\n")) == 2
    files = Workdir(folder)
    assert files.loss_curve.read_bytes().startswith(b"\x89PNG")
    assert list(files.tensorboard.iterdir())
    assert files.tokenizer.is_dir()
    assert files.read_config()[1] == 258
    assert list(files.profile.rglob("*.xplane.pb"))
    samples = sorted(files.samples.iterdir())
    assert [path.name for path in samples] == ["step_0000004.txt", "step_0000006.txt"]
    assert all(path.read_text("utf-8").startswith("göl ") for path in samples)
    train, validation = _lines(folder, "train"), _lines(folder, "validation")
    assert [line["step"] for line in train] == [2, 4, 6]
    assert [line["step"] for line in validation] == [4, 6]
    assert {"loss", "grad_norm", "tokens_per_second", "flop_utilisation"} <= train[0].keys()
    numbers = {"loss", "perplexity", "bits_per_byte", "bits_per_character"}
    assert numbers <= validation[0].keys()
    assert validation[1]["loss"] < validation[0]["loss"] < 5.6


def test_the_same_command_after_the_end_changes_nothing(finished, capsys):
    folder, _ = finished
    before = (folder / "metrics.jsonl").read_text()
    assert run(Workdir(folder).read_config()[0], folder) == 0
    assert (folder / "metrics.jsonl").read_text() == before
    out = capsys.readouterr().out
    assert "done: step 6" in out
    assert "compiled" not in out
    report.suggest(Workdir(folder).read_config()[0], folder)
    assert f"mmrec generate --workdir={folder} --prompt 'göl '" in capsys.readouterr().out


def test_a_run_stops_at_its_target_and_stays_stopped(tmp_path, capsys):
    """It is too short to be traced, which is no error."""
    others = {"train__eval_every": 2, "train__profile_steps": 1}
    for target in ("train__target_loss", "train__target_bits_per_byte"):
        assert run(_config(**others, **{target: 50.0}), tmp_path) == 0
        assert "done: step 2" in capsys.readouterr().out
    assert not (tmp_path / "profile").exists()
    assert run(_config(**others, train__target_bits_per_byte=0.01), tmp_path) == 0
    assert [line["step"] for line in _lines(tmp_path, "validation")] == [2, 4]


def test_a_shorter_length_than_what_is_done_ends_at_once(tmp_path, capsys):
    """Also when no evaluation has been made yet."""
    constant = {"optim__schedule": "constant"}
    begin(_config(**constant, train__steps=50), tmp_path, step=3)
    assert run(_config(**constant, train__steps=2), tmp_path) == 0
    assert "done: step 3, validation not evaluated yet" in capsys.readouterr().out


def test_fresh_forgets_the_run_only_when_the_new_one_can_begin(tmp_path):
    begin(_config(), tmp_path, step=3)
    broken = _config(model__vocab_size=10)
    refused(lambda: run(broken, tmp_path, fresh=True), "config.model.vocab_size is 10")
    assert set_up(_config(), tmp_path, fresh=False).start == 3
    assert set_up(_config(train__seed=5), tmp_path, fresh=True).start == 0


def test_a_run_without_validation_documents_has_no_validation_loss(tmp_path, capsys):
    few = {"train__steps": 2, "train__eval_every": 2, "data__validation_fraction": 0.0}
    for _ in range(2):  # the second time it is done already
        assert run(_config(**few), tmp_path / "run") == 0
        assert capsys.readouterr().out.count("nothing is held out") == 1
    assert not _lines(tmp_path / "run", "validation")
    for name in ("target_loss", "target_bits_per_byte"):
        other = _config(**few, **{f"train__{name}": 1.0})
        refused(lambda other=other: run(other, tmp_path / "other"), f"config.train.{name}")


@pytest.mark.parametrize(("unit", "amount"), [("epochs", 2), ("tokens", 12_000)])
def test_a_length_in_epochs_or_tokens_predicts_that_many(tmp_path, unit, amount):
    config = linear_config(session_text(), **{f"train__{unit}": amount})
    prepared = set_up(config, tmp_path, fresh=False)
    wanted = amount * prepared.data.train[0].num_pairs if unit == "epochs" else amount
    batches = prepared.data.batches(config.train.batch_size)
    counts = [int((next(batches)["segment_ids"] > 0).sum()) for _ in range(prepared.steps)]
    assert abs(sum(counts) - wanted) <= 0.02 * wanted + max(counts)


def test_what_cannot_train_is_refused_before_training(tmp_path):
    config = _config(tokenizer__kind="char", train__sample_prompt="göl ☃")
    refused(lambda: set_up(config, tmp_path / "a", fresh=False), "train.sample_prompt: ", "U+2603")
    config, folder = linear_config(tmp_path), tmp_path / "run"
    refused(lambda: set_up(config, folder, fresh=False), f"--workdir {folder}", "config.data")
    (tmp_path / "file").write_text("x")
    folder = tmp_path / "file" / "run"
    refused(lambda: run(_config(), folder), f"--workdir {folder}: Not a directory")
