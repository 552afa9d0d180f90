"""Training runs of `optimizers.py`, several at a time, each on a core of its own."""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.run_log import Record, RunLog
from mmrec_jax.config import Config
from mmrec_jax.errors import NotFiniteError, UserError

MODEL = "mmrec"
_SLOT: list[int] = []  # of this process: the number of its core and of its folder


def finish(log: RunLog, configs: Sequence[Config], workdir: Path, jobs: int) -> None:
    """Does the runs that are not in the log, `jobs` at a time, and writes them there.

    Args:
      log: the runs done so far.
      configs: the runs wanted.
      workdir: for the folder of each job, which keeps tokenizers and compiled programs.
      jobs: processes; each keeps to one core where the system can be told so.

    Raises:
      UserError: a run could not begin.
    """
    missing = [config for config in configs if log.find(MODEL, config) is None]
    if not missing:
        return
    context = multiprocessing.get_context("spawn")
    slots = context.SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)
    with concurrent.futures.ProcessPoolExecutor(
        min(jobs, len(missing)), context, initializer=_take_slot, initargs=(slots,)
    ) as pool:
        running = {pool.submit(train, config, workdir): config for config in missing}
        try:
            for done in concurrent.futures.as_completed(running):
                record = log.append(MODEL, running[done], done.result())
                print(describe(record), flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """One run of `train.py`, anew, in this process.

    Returns:
      `steps`; `tokens` (read, padding counted); `cpu_seconds` (of everything, compilation too) and
      `tokens_per_second` (of training, the median of what the run logged after its first
      evaluation); `curve`: `train` (step, nats) and `validation` (step, bits per byte); `unclipped`
      and `update_rms`: of Sophia, the mean over the second half; `metrics`: of the last evaluation,
      or None if the loss was not finite, soon after step `diverged_at`.
    """
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.train.loop import run  # here: JAX counts the cores when it starts
    from mmrec_jax.train.writer import read_metrics

    folder = Workdir(workdir / str(_SLOT[0] if _SLOT else 0))
    folder.metrics.unlink(missing_ok=True)  # of another run
    begin = time.process_time()
    diverged = False
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = run(config, folder.root, fresh=True)
    except NotFiniteError:
        diverged = True
    else:
        if status:
            raise UserError("interrupted")
    lines = read_metrics(folder.metrics)
    training = [line for line in lines if line["split"] == "train"]
    validation = [line for line in lines if line["split"] == "validation"]
    last = training[-1]["step"]
    rates = [
        line["tokens_per_second"] for line in training if line["step"] > config.train.eval_every
    ]
    late = [line for line in training if line["step"] > last / 2 and "sophia_unclipped" in line]

    def late_mean(name: str) -> float | None:
        return round(statistics.fmean(line[name] for line in late), 4) if late else None

    return {
        "steps": last,
        "tokens": last * config.train.batch_size * config.data.seq_len,
        "cpu_seconds": round(time.process_time() - begin, 1),
        "tokens_per_second": round(statistics.median(rates)) if rates else None,
        "curve": {
            "train": [[line["step"], round(line["loss"], 4)] for line in training],
            "validation": [[line["step"], round(line["bits_per_byte"], 5)] for line in validation],
        },
        "unclipped": late_mean("sophia_unclipped"),
        "update_rms": late_mean("sophia_update_rms"),
        "metrics": None
        if diverged
        else {k: v for k, v in validation[-1].items() if k not in ("step", "split")},
        "diverged_at": last if diverged else None,
    }


def describe(record: Record) -> str:
    """One line on a run, without what all runs have in common."""
    point = {
        name.removeprefix("optim."): value
        for name, value in record["fields"].items()
        if name.startswith("optim.")
    }
    metrics = record["metrics"]
    result = (
        f"{metrics['bits_per_byte']:.4f} bits/byte"
        if metrics
        else f"diverged after step {record['diverged_at']:,}"
    )
    return f"{point}, seed {record['seed']}: {result}, {record['cpu_seconds']:.0f} processor s"


def _take_slot(slots: Any) -> None:
    """Called once in each process, before anything else."""
    _SLOT.append(slots.get())
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[_SLOT[0] % len(cores)]})
