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
from collections.abc import Iterator, Mapping, Sequence
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
_LOG = "prepare.log"


Stage: TypeAlias = tuple[str, list[PipelineStep], int]  # its name, its pipeline, how many tasks


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a preparation may use; the result does not depend on it.

    Attributes:
      workers: tasks that run at once; one alone, in this process.
      ram_mb: megabytes that all processes together may take; with Ray and Slurm, whose processes
        are not watched, the tasks that run at once ask for so many.
      executor: who runs the tasks.
      slurm: "partition" and "time" of Slurm's jobs.
    """

    workers: int = 1
    ram_mb: float = 1500
    executor: ExecutorKind = "local"
    slurm: Mapping[str, str] = dataclasses.field(default_factory=dict)


def run_stages(stages: Sequence[Stage], resources: Resources, logs: Path) -> bool:
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
        else:
            executor = _Local(pipeline, **common)
        executor.run()
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


class _Local(LocalPipelineExecutor):
    """As the base, but a worker that is killed ends the stage, and workers end with this process.

    One worker alone works in this process.
    """

    def run(self) -> None:
        """Runs the tasks that are not done."""
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                deepcopy(self)._run_for_rank(rank)  # steps count what they do
            return
        before = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        log = Path(self.logging_dir.path).with_name(_LOG)
        pool = ProcessPoolExecutor(self.workers, context, _begin_worker, (log,))
        try:
            waiting = [pool.submit(self._run_for_rank, rank, 1) for rank in ranks]
            for done in as_completed(waiting):
                done.result()
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
