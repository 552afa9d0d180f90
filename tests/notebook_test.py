"""The notebook runs from top to bottom, on a reduced budget."""

import os
from pathlib import Path

import nbformat
import pytest
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


@pytest.mark.parametrize("path", sorted((ROOT / "colabs").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook_trains_plots_and_writes(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MMREC_WORKDIR", str(tmp_path / "run"))
    monkeypatch.setenv("MMREC_OVERRIDES", " ".join(OVERRIDES))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": ROOT}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no plot was drawn"
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Bir gün" in printed
    assert "bytes of state" in printed
    assert (tmp_path / "run" / "loss.png").stat().st_size > 0
