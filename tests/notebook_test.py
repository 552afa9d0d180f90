"""The notebooks run from top to bottom, on a reduced budget."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
OVERRIDES = [
    "--config.train.steps=3",
    "--config.train.batch_size=8",
    "--config.train.sample_tokens=0",
    "--config.data.seq_len=32",
    "--config.model.num_layers=1",
    "--config.model.model_dim=32",
    "--config.model.vocab_size=400",
]


def _execute(name, workdir, monkeypatch, *more):
    """What a notebook printed; a plot must have been drawn."""
    monkeypatch.setenv("MMREC_WORKDIR", str(workdir))
    monkeypatch.setenv("MMREC_OVERRIDES", " ".join([*OVERRIDES, *more]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "colabs" / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": ROOT}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no plot was drawn"
    return "".join(output.get("text", "") for output in outputs)


def test_train_tiny_trains_plots_and_writes(tmp_path, monkeypatch):
    printed = _execute("train_tiny", tmp_path / "run", monkeypatch)
    assert "Bir gün" in printed
    assert "bytes of state" in printed
    assert (tmp_path / "run" / "loss.png").stat().st_size > 0


def test_finetune_adapts_merges_and_responds(tmp_path, monkeypatch):
    # Most examples are longer than a row of the other notebook.
    printed = _execute("finetune", tmp_path, monkeypatch, "--config.data.seq_len=160")
    assert "treebank_instructions, " in printed
    assert "before training: validation loss" in printed
    assert "Bu cümleyi tamamla: Bir gün\n  → " in printed
    assert {"base", "dora", "merged"} <= {path.name for path in tmp_path.iterdir()}


def test_no_notebook_is_left_out():
    assert {path.stem for path in (ROOT / "colabs").glob("*.ipynb")} == {"train_tiny", "finetune"}
