"""Who runs the tasks of a stage: processes of this machine, Ray, or Slurm."""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, TypeAlias

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from mmrec_jax.errors import UserError

ExecutorKind = Literal["local", "ray", "slurm"]
Stage: TypeAlias = tuple[str, list[PipelineStep], int]  # its name, its pipeline, how many tasks
Progress = Callable[[int], object]  # is told how many more tasks are done

_LOG = "prepare.log"
# What a process takes for the libraries (MB), for the documents in its hands, and for the model
# that tells languages; a tokenizer by the size of its file. The first process does no task's work
# beside that of workers.
_PROCESS, _DOCUMENTS, _LANGUAGES, _TOKENIZER_FACTOR = 60, 90, 80, 11


def _cores() -> int:
    affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a preparation may use; the result does not depend on it."""

    # Tasks that run at once; one alone, in this process
    workers: int = dataclasses.field(default_factory=_cores)
    ram_mb: float = 1500  # megabytes that all processes together may take
    executor: ExecutorKind = "local"  # who runs the tasks
    # "partition" and "time" of Slurm's jobs
    slurm: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def affordable(self, tokenizer_bytes: int, *, languages: bool) -> "Resources":
        """With no more workers than fit into the memory, which is told.

        Raises:
          UserError: not even one does.
        """
        each = _DOCUMENTS + _TOKENIZER_FACTOR * tokenizer_bytes / 1e6 + _LANGUAGES * languages
        if _PROCESS + each > self.ram_mb:
            raise UserError(
                f"--ram-mb is {self.ram_mb:,.0f}, but the preparation needs about "
                f"{_PROCESS + each:,.0f}"
            )
        fitting = max(1, int((self.ram_mb - _PROCESS) // (_PROCESS + each)))
        if fitting >= self.workers:
            return self
        print(f"{fitting} workers: no more fit into {self.ram_mb:,.0f} MB", file=sys.stderr)
        return dataclasses.replace(self, workers=fitting)


def run_stages(
    stages: Sequence[Stage], resources: Resources, logs: Path, progress: Progress
) -> bool:
    """Runs the tasks that are not done, one stage after the other; False: Slurm has them to do.

    `logs` is the folder for datatrove's logs and lists of the tasks that are done.

    Raises:
      UserError: a task cannot be done; Ray is not installed, or Slurm refuses the jobs.
    """
    kind, memory_gb = resources.executor, resources.ram_mb / resources.workers / 1000
    if kind == "slurm" and not resources.slurm.get("partition"):
        raise UserError("--executor slurm needs --slurm-partition")
    if kind == "ray":
        _connect_to_ray(resources.workers)
    executor: PipelineExecutor | None = None
    for name, pipeline, tasks in stages:
        workers = min(resources.workers, tasks)
        common: dict[str, Any] = {
            "tasks": tasks,
            "workers": workers,
            "logging_dir": str(logs / name),
        }
        if kind == "slurm":
            executor = SlurmPipelineExecutor(
                pipeline,
                depends=executor,
                mem_per_cpu_gb=max(1, round(memory_gb)),
                job_name=f"prepare-{name}",
                env_command=f'export PATH="{Path(sys.executable).parent}:$PATH"',
                qos="",
                **resources.slurm,
                **common,
            )
            continue
        if kind == "ray":
            executor = RayPipelineExecutor(pipeline, mem_per_cpu_gb=memory_gb, **common)
            executor.run()
            progress(tasks)
        else:
            executor = LocalPipelineExecutor(pipeline, **common)
            _run_here(executor, logs, progress)
        if failed := executor.get_incomplete_ranks():  # which Ray does not raise
            told = [logs / name / "logs" / f"task_{rank:05d}.log" for rank in failed]
            raise UserError(_mistake(told) or f"a task of {name} failed: see {told[0]}")
    if kind == "slurm" and executor is not None:
        try:
            executor.run()  # after those that it depends on
        except subprocess.CalledProcessError as error:
            raise UserError(f"--executor slurm: {error}") from None
    return kind != "slurm"


def _mistake(logs: Sequence[Path]) -> str:
    """The first mistake of a user that one of datatrove's logs ends with; empty: none does."""
    for path in logs:
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        if lines and (found := re.match(r"mmrec_jax\.errors\.UserError: (.+)", lines[-1])):
            return found[1]
    return ""


def _run_here(executor: LocalPipelineExecutor, logs: Path, progress: Progress) -> None:
    """Runs the tasks that are not done in workers, of which one alone is this process.

    With the executor's own pool, which waits for a worker that was killed, workers would outlive
    this process.
    """
    ranks = executor.get_incomplete_ranks()
    progress(executor.tasks - len(ranks))
    if executor.workers == 1:
        for rank in ranks:
            deepcopy(executor)._run_for_rank(rank)  # steps count what they do
            progress(1)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(executor.workers, context, _begin_worker, (logs / _LOG,))
    try:
        waiting = [pool.submit(executor._run_for_rank, rank, 1) for rank in ranks]
        for done in as_completed(waiting):
            done.result()
            progress(1)
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - before:
            worker.kill()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a worker process was killed (perhaps for want of memory); the same command "
                "continues, perhaps with fewer --workers"
            ) from None
        raise
    pool.shutdown()


def _begin_worker(log: Path) -> None:
    """Its chatter goes into a file, and it ends with its parent alone, not by Ctrl-C."""
    sys.stderr = log.open("a", encoding="utf-8")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def quiet(logs: Path) -> Iterator[None]:
    """Sends what datatrove says in this process into a file of a folder."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / _LOG).open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        logger.remove()
        logger.add(log)
        try:
            yield
        finally:
            logger.remove()


def _connect_to_ray(workers: int) -> None:
    try:
        import ray
    except ImportError:
        raise UserError("--executor ray needs ray: pip install 'mmrec_jax[ray]'") from None
    if not ray.is_initialized():
        # Without an address, on this machine alone.
        cpus = None if os.environ.get("RAY_ADDRESS") else workers
        level = logging.ERROR
        ray.init(num_cpus=cpus, log_to_driver=False, logging_level=level, include_dashboard=False)
