"""The folder of a real run: what it may be called, who may write in it, and damage in it."""

import functools
import json
import shutil
import time

import pytest

import mmrec_jax
from mmrec_jax.checkpoints.load import read_model
from mmrec_jax.checkpoints.lock import lock_folder, unlock_folder
from mmrec_jax.cli import main
from mmrec_jax.config_tree import to_dict
from mmrec_jax.train.loop import run
from tests import small_run
from tests.refused import refused
from tests.small_run import (
    LINEAR,
    assert_same_bits,
    begin,
    command,
    flags,
    linear_config,
    session_text,
    started,
)

_RUN = {
    "model__num_layers": 1,
    "train__steps": 6,
    "train__eval_every": 100,
    "train__checkpoint_every": 2,
    "train__keep_last": 3,
    "train__keep_best": 0,
    "train__sample_tokens": 0,
    "optim__schedule": "constant",
}


def _config(**overrides):
    return linear_config(session_text(), **{**_RUN, **overrides})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six steps; copied before anything is done to it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run(_config(), folder) == 0
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def _assert_same(folder, other):
    assert_same_bits(*(read_model(each, "last").params for each in (folder, other)))


def _steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").open()]


def _files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_goes_on_and_is_read_whatever_its_folder_is_called(finished, tmp_path, capsys):
    folder = tmp_path / "ağaç [b], *? %20#&'\"" / "run"
    assert run(_config(train__steps=4), folder) == 0
    assert run(_config(), folder) == 0
    assert "continuing from the checkpoint of step 4" in capsys.readouterr().out
    _assert_same(folder, finished)
    main(["export", f"--workdir={folder}", f"--out={folder.parent / 'out'}"])
    mmrec_jax.load(folder.parent / "out")


def test_a_damaged_checkpoint_stops_the_run_until_it_is_told_where_to_go_on(
    copy, finished, capsys, tmp_path
):
    """And the run that goes back ends as it did before."""
    (copy / "checkpoints" / "6" / "commit_success.txt").unlink()
    before = _files(copy)
    damaged = str(copy / "checkpoints" / "6")
    refused(lambda: run(_config(), copy), damaged, "commit_success.txt", "--resume-step=4")
    assert _files(copy).items() >= before.items()
    assert run(_config(), copy, resume_step=2) == 0
    said = capsys.readouterr().out
    assert "continuing from the checkpoint of step 2" in said
    for aside in ("4.later", "6.damaged"):
        assert aside in said
        assert (copy / "checkpoints" / aside).is_dir()
    assert _steps(copy) == _steps(finished)
    _assert_same(copy, finished)


def test_a_damaged_or_missing_state_is_told_before_anything_is_written(copy):
    (file,) = (copy / "checkpoints" / "6" / "training" / "d").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before = _files(copy)
    longer = _config(train__steps=8)
    refused(lambda: run(longer, copy), "6: training/", "--resume-step=4")
    assert _files(copy).items() >= before.items()
    shutil.rmtree(copy / "checkpoints" / "6" / "training")  # as of a merged model
    manifest = copy / "checkpoints" / "6" / "checksums.json"
    checksums = json.loads(manifest.read_text())
    kept = {name: x for name, x in checksums.items() if not name.startswith("training/")}
    manifest.write_text(json.dumps(kept))
    refused(lambda: run(longer, copy), "6: this checkpoint has no training", "init_from=")


def test_an_exported_model_is_no_workdir(copy, tmp_path, capsys):
    main(["export", f"--workdir={copy}", f"--out={tmp_path / 'out'}"])
    before = _files(tmp_path / "out")
    for fresh in (False, True):
        again = functools.partial(run, _config(), tmp_path / "out", fresh=fresh)
        refused(again, "mmrec export", "config.init_from=")
    assert _files(tmp_path / "out") == before


def test_one_process_writes_in_a_folder_and_notices_when_it_is_gone(tmp_path):
    """The second terminal, with `--fresh` too; then the folder is moved under the first."""
    folder = tmp_path / "run"
    fields = LINEAR | _RUN | {"train__steps": 10**6, "train__dashboard": False}
    with started(command(folder, *flags(**fields))) as first:
        while not (folder / "checkpoints" / "4").exists():
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.01)
        for fresh in (False, True):
            again = functools.partial(run, _config(), folder, fresh=fresh)
            refused(again, str(folder), f"process {first.pid} ")
        assert first.poll() is None
        folder.rename(tmp_path / "moved")
        _, said = first.communicate(timeout=60)
    assert first.returncode == 2
    errors = [line for line in said.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert f"{folder}" in errors[0]
    assert "moved or deleted" in errors[0]
    assert "Traceback" not in said
    mmrec_jax.load(tmp_path / "moved", "last")
    lock_folder(tmp_path / "moved")  # it ended with its process
    unlock_folder(tmp_path / "moved")


def test_a_lock_is_of_one_process_and_leaves_no_folder_behind(tmp_path):
    folder = tmp_path / "new"
    lock_folder(folder)
    lock_folder(folder)
    shutil.rmtree(folder)
    lock_folder(folder)
    assert (folder / ".lock").exists()
    unlock_folder(folder, discard=True)
    assert not folder.exists()
    folder.mkdir()
    lock_folder(folder)
    unlock_folder(folder, discard=True)
    assert folder.exists()


@pytest.mark.parametrize("every", [0, 500])
def test_a_run_is_continued_unless_its_sampling_is_gone(every, tmp_path, monkeypatch):
    """`config.guided` was in every config for a while; the model is read either way."""
    config, guided = linear_config(session_text(), train__steps=1), {"guided": {"every": every}}
    monkeypatch.setattr(small_run, "to_dict", lambda config: to_dict(config) | guided)
    begin(config, tmp_path, step=1)
    stored = json.loads((tmp_path / "config.json").read_text("utf-8"))
    stored["config"] |= guided
    (tmp_path / "config.json").write_text(json.dumps(stored), "utf-8")
    assert read_model(tmp_path).params
    if every:
        remedies = "--fresh", "--config.init_from", "--workdir"
        refused(lambda: run(config, tmp_path), "checkpoints/1", "config.guided.every", *remedies)
    else:
        assert run(config, tmp_path) == 0
