"""One cell of a benchmark in a process of its own, under a limit of time."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed_cell import Cell
from benchmarks.speed_table import Measured
from mmrec_jax.errors import UserError

IN_JAX = ("mmrec", "jax")
_ROOT = Path(__file__).resolve().parents[1]
# Compiled programs of earlier runs are out of reach, so that compile times are true ones.
_TORCH_CACHE = tempfile.TemporaryDirectory(prefix="benchmark_cells_")


def run_process(command: list[str], limit: float) -> dict[str, Any]:
    """Runs a program from the repository's root and reads the last JSON line that it printed.

    Args:
      command: the program and its arguments.
      limit: seconds it may take.

    Returns:
      What the line says, and `failed`: why the program did not end well, or None.
    """
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"TORCHINDUCTOR_CACHE_DIR": _TORCH_CACHE.name, "HF_HUB_OFFLINE": "1"}
    failed = None
    try:
        done = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, timeout=limit, check=False
        )
        output = done.stdout
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            failed = last or f"exit status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, failed = error.stdout or b"", f"past {limit:g} s"
    complete = output.rpartition(b"\n")[0].rpartition(b"\n")[2]
    return (json.loads(complete) if complete else {}) | {"failed": failed}


def run_cell(cell: Cell, python: str, limit: float, **known: Any) -> Measured:
    """Measures a cell in a process of its own.

    Args:
      cell: what is measured.
      python: the program that has what its model needs.
      limit: seconds it may take.
      known: what the report says of the cell besides; the process may say it better.
    """
    identity = {name: getattr(cell, name) for name in ("model", "rows", "length", "context")}
    unknown: Measured = {"compile_seconds": None, "warm_seconds": [], "step_seconds": []}
    unknown |= {"peak_bytes": None, "others": None, "state_bytes": None, "read_seconds": None}
    unknown |= {"parameters": None, "searched": None, "version": None}
    command = [python, "-m", "benchmarks.speed_cell", json.dumps(dataclasses.asdict(cell))]
    return identity | unknown | known | run_process(command, limit)


def pythons(models: Sequence[str], torch_python: str | None, *modules: str) -> dict[str, str]:
    """The models that can run here, each with the Python that runs it.

    Args:
      models: their names; those of `IN_JAX` run in this Python.
      torch_python: what the user named with `--torch-python` for the others; None: this one.
      modules: what the others need.

    Raises:
      UserError: there is no such program, or a module is missing where the user named it.
    """
    python, able = torch_python or sys.executable, False
    if set(models) - set(IN_JAX):
        try:
            check = subprocess.run(
                [python, "-c", f"import {', '.join(modules)}"], capture_output=True
            )
        except OSError as error:
            raise UserError(f"--torch-python: {python}: {error.strerror}") from error
        able = not check.returncode
        if torch_python and not able:
            raise UserError(f"--torch-python: {python} cannot import {' and '.join(modules)}")
    found = {name: sys.executable if name in IN_JAX else python for name in models}
    return {name: program for name, program in found.items() if able or name in IN_JAX}
