"""One cell of a benchmark in a process of its own, under a limit of time."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError

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


def can_import(python: str, *modules: str, needed: object) -> bool:
    """Whether a Python has all of `modules`.

    Args:
      python: the program.
      modules: their names.
      needed: true if the user named this Python with `--torch-python`.

    Raises:
      UserError: there is no such program; or a module is missing and it is `needed`.
    """
    try:
        check = subprocess.run([python, "-c", f"import {', '.join(modules)}"], capture_output=True)
    except OSError as error:
        raise UserError(f"--torch-python: {python}: {error.strerror}") from error
    if check.returncode and needed:
        raise UserError(f"--torch-python: {python} cannot import {' and '.join(modules)}")
    return check.returncode == 0
