"""The notebooks run from top to bottom on a reduced budget, opened alone in an empty folder."""

import contextlib
import io
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tests.small_run import ROOT

OVERRIDES = [
    "--config.train.steps=3",
    "--config.train.batch_size=8",
    "--config.train.sample_tokens=0",
    "--config.train.devices=1",
    "--config.train.dashboard=False",
    "--config.data.seq_len=160",  # most examples are longer than 32
    "--config.model.num_layers=1",
    "--config.model.model_dim=32",
    "--config.model.gate=none",
    "--config.model.memory=none",
    "--config.model.vocab_size=400",
]


def _open(name, source, workdir, monkeypatch):
    """A notebook that finds the project in `source`, and an empty folder to run it in."""
    monkeypatch.setenv("MMREC_SOURCE", str(source))
    monkeypatch.setenv("MMREC_WORKDIR", str(workdir / "run"))
    monkeypatch.setenv("MMREC_OVERRIDES", " ".join(OVERRIDES))
    (workdir / "empty").mkdir()
    return nbformat.read(ROOT / "colabs" / f"{name}.ipynb", as_version=4)


def _execute(name, source, workdir, monkeypatch, path=str(ROOT), **client):
    """What a notebook printed in a kernel of its own; a plot must have been drawn."""
    monkeypatch.setenv("PYTHONPATH", path)
    notebook = _open(name, source, workdir, monkeypatch)
    folder = {"metadata": {"path": workdir / "empty"}}
    NotebookClient(notebook, timeout=240, resources=folder, **client).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no plot was drawn"
    return "".join(output.get("text", "") for output in outputs)


def _repository(folder, *names):
    """A repository with some of this one's files, and its address."""
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    who = ["-c", "user.name=a", "-c", "user.email=b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "All"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return f"file://{folder}"


def _type(name, source, workdir, run, monkeypatch):
    """What a notebook printed whose cells are run in this process; a plot must have been drawn."""
    from IPython.core.inputtransformer2 import TransformerManager

    notebook, names = _open(name, source, workdir, monkeypatch), {}
    monkeypatch.setenv("MMREC_WORKDIR", str(run))
    monkeypatch.chdir(workdir / "empty")
    monkeypatch.setenv("MPLBACKEND", "agg")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(TransformerManager().transform_cell(cell.source), names)
    assert names["plt"].get_fignums(), "no plot was drawn"
    names["plt"].close("all")
    return printed.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a notebook that trains what the other one begins with."""
    return tmp_path_factory.mktemp("run")


def test_train_tiny_trains_plots_and_writes(run, tmp_path, monkeypatch):
    printed = _type("train_tiny", ROOT, tmp_path, run / "base", monkeypatch)
    assert "Bir gün" in printed
    assert "bytes of state" in printed


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_adapt_teaches_exports_and_writes(tmp_path, monkeypatch):
    small = (ROOT / "tests" / "adapt" / "small_adapt.py").read_text("utf-8")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=lambda *_: {".git", ".venv"})
    (source / "configs" / "adapt.py").write_text(small, "utf-8")
    monkeypatch.setattr("tests.notebook_test.OVERRIDES", [])
    assert "Bits per byte, Turkish" in _execute("adapt", source, tmp_path, monkeypatch)


def test_finetune_adapts_merges_and_responds(run, tmp_path, monkeypatch):
    (tmp_path / "origin").mkdir()
    source = _repository(tmp_path / "origin", "configs")
    printed = _type("finetune", source, tmp_path, run, monkeypatch)
    assert "treebank_instructions, " in printed
    assert "before training: validation loss" in printed
    assert "Bu cümleyi tamamla: Bir gün\n  → " in printed
    assert {"base", "dora", "merged"} <= {path.name for path in run.iterdir()}


def test_no_notebook_is_left_out():
    notebooks = {path.stem for path in (ROOT / "colabs").glob("*.ipynb")}
    assert notebooks == {"train_tiny", "finetune", "adapt"}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_notebook_installs_what_it_needs(tmp_path, monkeypatch):
    (tmp_path / "origin").mkdir()
    files = ("configs", "mmrec_jax", "pyproject.toml", "README.md", "LICENSE")
    source = _repository(tmp_path / "origin", *files)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "ipykernel"], check=True)
    subprocess.run([python, "-m", "ipykernel", "install", "--prefix", tmp_path, "--name", "alone"])
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    alone = {"path": "", "kernel_name": "alone"}
    assert "Bir gün" in _execute("train_tiny", source, tmp_path, monkeypatch, **alone)
