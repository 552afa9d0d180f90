"""What tests share to run `train.py`: a text, a small config, processes, and one finished run.

Processes share the session's compilation cache and compile without optimisation, so that each
starts in seconds; those of as many devices compute the same numbers as this one, bit for bit.
"""

import atexit
import contextlib
import dataclasses
import fcntl
import functools
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrec_jax.checkpoints.lock import unlock_folder
from mmrec_jax.config import Config
from mmrec_jax.config_file import read_config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.train.state import TrainState, to_items
from mmrec_jax.train.writer import read_metrics
from mmrec_jax.tree import named_leaves
from mmrec_jax.xla_flags import with_required

ROOT = Path(__file__).resolve().parents[1]
CONFIG_FILE = Path(__file__).with_name("small_config.py")
# The smallest model that is still one: for tests of what happens around the model.
LINEAR = {"model__gate": "none", "model__memory": "none", "objectives__uboo": None}

_WORDS = ("bir", "iki", "göl", "köprü", "çiçek", "ağaç", "ışık", "İstanbul", "deniz", "yol", "kuş")


def write_text(path: Path, documents: int = 60) -> Path:
    """Documents of 2 to 29 random words, separated by blank lines; always the same ones."""
    choose = random.Random(0)
    texts = [
        " ".join(choose.choice(_WORDS) for _ in range(choose.randint(2, 29)))
        for _ in range(documents)
    ]
    path.write_text("\n\n".join(texts) + "\n", "utf-8")
    return path


def small_config(text: Path, **overrides: object) -> Config:
    """The small run on `text`, if its data is files; overrides are written `train__steps=4`."""
    overrides = {"data__train": text, **overrides} if text else overrides
    return read_config(str(CONFIG_FILE), flags(**overrides))


def linear_config(text: Path, **overrides: object) -> Config:
    """The small run with the `LINEAR` model, which compiles in a second or two."""
    other = {"train__devices": 1, "train__dashboard": False}
    return small_config(text, **{**LINEAR, **other, **overrides})


def small_model(**changes: object) -> MMRecConfig:
    """A small model for tests without a run."""
    sizes = {"vocab_size": 50, "model_dim": 16, "num_layers": 2, "num_memories": 2, "context": 32}
    return MMRecConfig(**{**sizes, "chunk": 8, "remat": "none", **changes})


def begin(config: Config, workdir: Path, *, step: int) -> None:
    """A run that has a checkpoint at `step`, but was never trained."""
    prepared = set_up(config, workdir, fresh=False)
    meta = {"config": to_dict(config), "validation": None}
    meta["tokenizer"] = prepared.data.tokenizer.fingerprint
    state = dataclasses.replace(prepared.state, step=np.int32(step))
    prepared.checkpointer.save(
        step,
        to_items(state),
        data=prepared.batches.get_state(),
        meta=meta,
        validation_loss=None,
    )
    prepared.checkpointer.close()
    unlock_folder(workdir)


def flags(**overrides: object) -> list[str]:
    """`train__steps=4` as `--config.train.steps=4`."""
    return [f"--config.{name.replace('__', '.')}={value}" for name, value in overrides.items()]


@functools.cache
def session_directory() -> Path:
    """A folder that the whole session shares, parallel workers too; the last one removes it."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    path = Path(tempfile.gettempdir()) / f"mmrec_jax_session_{session}"
    path.mkdir(exist_ok=True)
    users = (path / "users").open("a")
    fcntl.flock(users, fcntl.LOCK_SH)

    def leave() -> None:
        with users, contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(leave)
    return path


@functools.cache
def session_text() -> Path:
    """The text that processes train on."""
    path = session_directory() / "words.txt"
    with _alone("words"):
        return path if path.exists() else write_text(path)


def environment(devices: int = 1) -> dict[str, str]:
    """The environment of a process with so many simulated devices."""
    fast = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"  # to compile
    fast += " --xla_cpu_parallel_codegen_split_count=1"
    xla = f"--xla_force_host_platform_device_count={devices} {fast}"
    return os.environ | {
        "XLA_FLAGS": with_required(xla),
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(ROOT),
    }


def command(workdir: Path, *arguments: str) -> list[str]:
    """The training command; the same for every session of a run."""
    text = f"--config.data.train={session_text()}"
    program = [sys.executable, str(ROOT / "train.py"), f"--config={CONFIG_FILE}", text]
    return [*program, f"--workdir={workdir}", *arguments]


def train(workdir: Path, *arguments: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
    """Runs the training command to its end."""
    return execute(command(workdir, *arguments), devices=devices)


def execute(arguments: Sequence[str], *, devices: int = 1) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end in `environment`."""
    return subprocess.run(
        arguments,
        env=environment(devices),
        cwd=session_directory(),
        text=True,
        capture_output=True,
        timeout=240,
        check=False,
    )


@contextlib.contextmanager
def started(arguments: Sequence[str], **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process in `environment`, with other variables besides; killed at the end."""
    process = subprocess.Popen(
        arguments,
        env=environment() | variables,
        cwd=session_directory(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@functools.cache
def trained() -> Path:
    """The workdir of the small run, trained without interruption. Tests must not change it."""
    workdir = session_directory() / "trained"
    with _alone("trained"):
        if not workdir.exists():
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                assert run(small_config(session_text(), train__devices=1), workdir) == 0
    return workdir


_TIMED = {"tokens_per_second", "flop_utilisation", "input_wait"}


def metrics(folder: Path, split: str = "") -> list[dict[str, Any]]:
    """The lines of a run's metrics, of one split or all, without what the clock decides."""
    lines = [x for x in read_metrics(folder / "metrics.jsonl") if split in ("", x["split"])]
    return [{name: x for name, x in line.items() if name not in _TIMED} for line in lines]


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Two trees have the same leaves under the same names, bit for bit."""
    found, wanted = named_leaves(actual), named_leaves(expected)
    assert found.keys() == wanted.keys()
    for name, leaf in wanted.items():
        assert found[name].dtype == leaf.dtype, name
        assert np.asarray(found[name]).tobytes() == np.asarray(leaf).tobytes(), name


def assert_same_run(config: Config, first: Path, second: Path) -> TrainState:
    """Training metrics and last states are equal, bit for bit; returns the state."""
    assert metrics(first, "train") == metrics(second, "train")
    states = [set_up(config, folder, fresh=False).state for folder in (first, second)]
    assert_same_bits(*states)
    return states[0]


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keeps the other workers waiting."""
    with (session_directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
