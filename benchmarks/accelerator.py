"""What MM-Rec does on an accelerator, in at most eight minutes: exactness, training, decoding.

    python -m benchmarks.accelerator --output=benchmarks/logs/accelerator_h200
    python -m benchmarks.accelerator --small

Recurrences against float64 on the CPU; the training step of three sizes in bfloat16 with kernels
and without (`models/mmrec/kernels.py`), with its share of the chip's rate; attention of equal size
in torch on the card, where `--torch-python` has torch with CUDA; flash-linear-attention's delta
rule, where it is installed; decoding. The most important cells come first: what there was no time
for is left out of the table. `--small` runs all of it on whatever is there in seconds, the kernels
interpreted. Writes PREFIX.json after each cell and PREFIX.md at the end.
"""

import argparse
import contextlib
import dataclasses
import functools
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cell_process import pythons, run_cell, run_process
from benchmarks.floor import abstract_parameters
from benchmarks.markdown import header, row
from benchmarks.matching import matching
from benchmarks.speed_cell import Cell, mmrec_training
from benchmarks.timing import Step, time_steps
from benchmarks.workload import random_batch
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.kernels import KernelTarget, kernel_target, kernels_for
from mmrec_jax.models.mmrec.memory import delta_scan
from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.models.partition import device_kind
from mmrec_jax.train.mesh import one_device
from mmrec_jax.train.monitor import matmul_flops_per_second, training_flops_per_token
from mmrec_jax.tree import count

_ROOT = Path(__file__).resolve().parents[1]
# Operations a second of dense bfloat16 products summed in float32, from the makers' data sheets.
_RATES = {
    "h200": 989e12,
    "h100": 989e12,
    "a100": 312e12,
    "l4": 121e12,
    "rtx 4090": 165e12,
    "rtx 4070": 58e12,
    "v5 lite": 197e12,
    "v5e": 197e12,
    "v5p": 459e12,
    "v6": 918e12,
}
_SPEED = {"ms": ("milliseconds", ",.2f"), "tokens/s": ("per_second", ",.0f")}
# Columns of each table: what a cell of the report says, and how it is written.
_TABLES = {
    "exactness": {
        "scan": ("scan", ""),
        "values against float64": ("values", ".1e"),
        "gradients": ("gradients", ".1e"),
    },
    "training": {
        "model": ("model", ""),
        "size": ("size", ""),
        "rows": ("rows", ""),
        "T": ("length", ","),
        **_SPEED,
        "MFU": ("mfu", ".1%"),
        "compile s": ("compile_seconds", ".0f"),
    },
    "delta rule": {"model": ("model", ""), "rows": ("rows", ""), "T": ("length", ","), **_SPEED},
    "decoding": {"size": ("size", ""), "rows": ("rows", ""), **_SPEED},
}
_SMALL = MMRecConfig(vocab_size=50, model_dim=128, num_layers=1, num_memories=4)

Report = dict[str, list[dict[str, Any]]]


def main() -> None:
    """Measures until all is done or the time is up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="all of it, tiny, in seconds")
    parser.add_argument("--seconds", type=float, default=420.0, help="begin no cell after so many")
    parser.add_argument("--torch-python", help="a Python that has torch; this one by default")
    parser.add_argument(
        "--output", type=Path, default=_ROOT / "benchmarks/logs/accelerator", metavar="PREFIX"
    )
    options = parser.parse_args()
    with exit_on_user_error():
        if not options.output.parent.is_dir():
            raise UserError(f"--output: the folder {options.output.parent} does not exist")
        # torch, in processes of its own, needs memory too.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    deadline = time.monotonic() + options.seconds
    report: Report = {name: [] for name in _TABLES}
    for kind, cell, measure in _cells(options):
        if time.monotonic() > deadline:
            break
        try:
            found = measure()
            if seconds := found.pop("seconds", None):
                tokens = cell["rows"] * cell.get("length", 1)
                found |= {"milliseconds": 1e3 * seconds, "per_second": tokens / seconds}
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # such as too little memory
            found = {"failed": str(error).split("\n", 1)[0][:200]}
        gc.collect()
        report[kind].append(cell | found)
        print(json.dumps(cell | found), flush=True)
        options.output.with_suffix(".json").write_text(json.dumps(report, indent=1), "utf-8")
    text = to_markdown(report)
    options.output.with_suffix(".md").write_text(text, "utf-8")
    print(f"\n{text}")


def _cells(
    options: argparse.Namespace,
) -> Iterator[tuple[str, dict[str, Any], Callable[[], dict[str, Any]]]]:
    """Rows of the report: its table, what the row is, what measures it; important ones first."""
    small, on_torch = options.small, _torch(options)
    paths = ["kernel"] if small else ["kernel", "plain"]
    if small:
        sizes, lengths, tokens, steps = {"one layer": _SMALL}, [16], 32, 2
        exact = shape = 2, 20, 2, 64
    else:
        sizes = {name: SIZES[name] for name in ("base", "small", "tiny")}
        lengths, tokens, steps = [4096, 1024, 32_768], 32_768, 100
        exact, shape = (2, 1000, 2, 128), (8, 4096, 8, 128)
    for name in _SCANS:
        yield "exactness", {"scan": name}, partial(_exactness, name, exact, small)
    for size, config in sizes.items():
        config = dataclasses.replace(config, dtype="bfloat16")
        for length in lengths:
            rows = max(tokens // length, 1)
            for path in paths + on_torch:
                cell = {"model": path, "size": size, "rows": rows, "length": length}
                measure = _training if path in paths else _torch_training
                yield "training", cell, partial(measure, options, path, config, rows, length)
        for rows in (1, 64):
            cell = {"size": size, "rows": rows}
            yield "decoding", cell, partial(_decoding, config, rows, steps)
    for path in paths + (["fla"] if on_torch and not small else []):
        cell = {"model": path, "rows": shape[0], "length": shape[1]}
        yield "delta rule", cell, partial(_delta if path in paths else _fla, options, path, shape)


def _torch(options: argparse.Namespace) -> list[str]:
    """Whether there is torch, with a card unless the run is a small one."""
    python = pythons(["torch"], options.torch_python, "torch").get("torch")
    if python is None or options.small:
        return ["torch"] if python else []
    command = "import json, torch; print(json.dumps({'card': torch.cuda.is_available()}))"
    return ["torch"] if run_process([python, "-c", command], 60.0).get("card") else []


@contextlib.contextmanager
def _path(name: str, small: bool) -> Iterator[None]:
    """With kernels, interpreted where the run is a small one, or without."""
    if name == "plain":
        with kernels_for(None):
            yield
    elif small:
        with kernels_for(KernelTarget("tpu", interpret=True)):
            yield
    elif kernel_target(jnp.float32, 1) is None:
        raise ValueError(f"no kernels for {device_kind()[0]}")
    else:
        yield


_SCANS: dict[str, Callable[..., Any]] = {
    "linear_scan": linear_scan,
    "gated_scan": lambda *inputs, **options: gated_scan(*inputs, **options)[:2],
    "delta_scan": delta_scan,
}


def _inputs(name: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Random inputs [B, T, ...] of a scan with as many memories of such a size."""
    rng = np.random.default_rng(0)
    batch, length, heads, size = shape
    wide, narrow = (batch, length, heads * size), (batch, length, heads)
    decay = 1 - np.exp(rng.uniform(np.log(1e-3), 0, wide))
    if name == "linear_scan":
        return [decay, rng.normal(size=wide)]
    if name == "gated_scan":
        b = np.sqrt(1 - decay**2) * rng.normal(size=wide)
        return [decay, b, *rng.normal(size=(2, wide[-1]))]
    q, k, v = rng.normal(size=(3, *shape))
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    return [q, k, v, decay[..., :heads], rng.uniform(0, 1, narrow)]


def _exactness(name: str, shape: tuple[int, ...], small: bool) -> dict[str, Any]:
    """The largest relative error of values and of gradients, in float32."""
    inputs = _inputs(name, shape)
    reset = np.random.default_rng(1).random(shape[:2]) < 0.01

    def run(inputs: list[Any], reset: Any) -> tuple[Any, Any]:
        outputs, pull = jax.vjp(lambda x: _SCANS[name](*x, reset=reset), inputs)
        return outputs, pull(jax.tree.map(jnp.cos, outputs))[0]

    with _path("kernel", small):
        found = jax.jit(run)([np.float32(x) for x in inputs], reset)
    on_cpu = jax.default_device(jax.local_devices(backend="cpu")[0])
    with jax.enable_x64(True), on_cpu, kernels_for(None):
        exact = jax.jit(run)([np.float64(np.float32(x)) for x in inputs], reset)

    def error(actual: Any, expected: Any) -> float:
        expected = np.asarray(expected)
        difference = np.max(np.abs(np.asarray(actual, np.float64) - expected))
        return float(difference / np.max(np.abs(expected)))

    pairs = zip(found, exact, strict=True)
    values, gradients = (max(jax.tree.leaves(jax.tree.map(error, *pair))) for pair in pairs)
    return {"values": values, "gradients": gradients}


def _training(
    options: argparse.Namespace, path: str, config: MMRecConfig, rows: int, length: int
) -> dict[str, Any]:
    """Step time, and the share of the chip's rate that the model's own operations come to."""
    batch = random_batch(rows, length, config.vocab_size)
    with _path(path, options.small):
        facts, step = mmrec_training(dataclasses.asdict(config), batch, one_device())
    seconds = _timed(step, options.small)
    parameters = count(abstract_parameters(config))
    flops = training_flops_per_token(config.build(), parameters, frozen=0, length=length)
    mfu = flops * rows * length / seconds / _rate()
    return {"seconds": seconds, "mfu": mfu, "compile_seconds": facts["compile_seconds"]}


def _torch_training(
    options: argparse.Namespace, path: str, config: MMRecConfig, rows: int, length: int
) -> dict[str, Any]:
    """Step time of attention with as many parameters, in torch."""
    shape = matching(
        count(abstract_parameters(config)),
        vocab_size=config.vocab_size,
        model_dim=config.D,
        num_layers=config.num_layers,
        num_heads=config.H,
    )
    name, seconds = ("torch", 0.0) if options.small else ("torch-cuda", 2.0)
    cell = Cell(name, dataclasses.asdict(shape), rows, length, seconds)
    found = run_cell(cell, pythons(["torch"], options.torch_python, "torch")["torch"], limit=60.0)
    if found["failed"]:
        raise ValueError(found["failed"])
    return {"seconds": min(found["step_seconds"])}


def _delta(options: argparse.Namespace, path: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Forward and backward of the long-term memory's scan alone, bfloat16 but for the decay."""
    *wide, alpha, beta = _inputs("delta_scan", shape)
    inputs = [*(jnp.asarray(x, jnp.bfloat16) for x in wide), jnp.float32(alpha), jnp.float32(beta)]

    def loss(inputs: list[jax.Array]) -> jax.Array:
        return jnp.sum(delta_scan(*inputs)[0].astype(jnp.float32))

    with _path(path, options.small):
        program = jax.jit(jax.grad(loss)).lower(inputs).compile()
    return {
        "seconds": _timed(lambda: jax.block_until_ready(program(inputs)) and None, options.small)
    }


def _fla(options: argparse.Namespace, path: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The same by flash-linear-attention."""
    python = pythons(["fla"], options.torch_python, "torch")["fla"]
    described = json.dumps(dict(zip(("rows", "length", "heads", "size"), shape, strict=True)))
    found = run_process([python, "-m", "benchmarks.peers.fla_delta", described], 60.0)
    if found["failed"]:
        raise ValueError(found["failed"])
    return {"seconds": found["seconds"]}


def _decoding(config: MMRecConfig, rows: int, steps: int) -> dict[str, Any]:
    """Greedy, every row a text of its own; nothing waits for a token to be shown."""
    model = config.build()
    params = jax.jit(model.init)(jax.random.key(0))

    @jax.jit
    def step(params: Any, tokens: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        output = model.apply(params, tokens, state)
        return jnp.argmax(output.logits, axis=-1), output.state

    held = step(params, jnp.ones((rows, 1), jnp.int32), model.initial_state(rows))
    held = jax.block_until_ready(step(params, *held))
    start = time.perf_counter()
    for _ in range(steps):
        held = step(params, *held)
    jax.block_until_ready(held)
    return {"seconds": (time.perf_counter() - start) / steps}


def _timed(step: Step, small: bool) -> float:
    """Seconds of the fastest step."""
    *_, last = time_steps(step, seconds=0.0 if small else 2.0, warm_steps=1)
    return float(min(last["step_seconds"]))


@functools.cache
def _rate() -> float:
    """Operations a second: the data sheet's, else what a large product reaches here."""
    kind, _ = device_kind()
    known = [rate for name, rate in _RATES.items() if name in kind]
    return known[0] if known else matmul_flops_per_second("bfloat16")


def to_markdown(report: Report) -> str:
    """The report as tables; a cell that failed says why."""
    kind, _ = device_kind()
    lines = [f"{kind}, JAX {jax.__version__}, {_rate() / 1e12:,.3g} TFLOP/s in bfloat16"]
    for name, columns in _TABLES.items():
        lines += ["", *header([*columns, "failed"])]
        for cell in report[name]:
            values = (
                format(cell[key], how) if key in cell else "" for key, how in columns.values()
            )
            lines.append(row([*values, cell.get("failed", "")]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
