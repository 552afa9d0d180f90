"""Who runs the tasks of a stage: processes of this machine, Ray, or Slurm."""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from mmrec_jax.errors import UserError

ExecutorKind = Literal["local", "ray", "slurm"]
_LOG = "prepare.log"


class _Local(LocalPipelineExecutor):
    """As the base, but a worker that is killed ends the stage, and workers end with this process.

    One worker alone works in this process.

    Attributes:
      log: the file for what the workers write to standard error.
    """

    log: Path

    def run(self) -> None:
        """Runs the tasks that are not done."""
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                deepcopy(self)._run_for_rank(rank)  # steps count what they do
            return
        before = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, context, _begin_worker, (self.log,))
        try:
            waiting = [pool.submit(self._run_for_rank, rank, 1) for rank in ranks]
            for done in as_completed(waiting):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - before:
                worker.kill()
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


class Runner:
    """Runs one stage after the other."""

    def __init__(
        self,
        kind: ExecutorKind,
        workers: int,
        worker_mb: float,
        logs: Path,
        slurm: Mapping[str, str],
    ) -> None:
        """Connects to a Ray cluster, or starts one on this machine.

        Args:
          kind: who runs the tasks.
          workers: how many run at once.
          worker_mb: memory of each, as Ray and Slurm are told.
          logs: the folder for datatrove's logs and lists of the tasks that are done.
          slurm: see `Resources`.

        Raises:
          UserError: Ray is not installed, or Slurm's partition is not given.
        """
        if kind == "slurm" and not slurm.get("partition"):
            raise UserError("--executor slurm needs --slurm-partition")
        if kind == "ray":
            _connect_to_ray(workers)
        self._kind, self._workers, self._logs, self._slurm = kind, workers, logs, slurm
        self._worker_gb = worker_mb / 1000
        self._last: SlurmPipelineExecutor | None = None

    def run(self, name: str, pipeline: list[PipelineStep], tasks: int) -> None:
        """Runs the tasks of a stage that are not done; for Slurm, keeps them for `finish`.

        Raises:
          UserError: a task cannot be done; the others may have been.
        """
        logs = self._logs / name
        workers = min(self._workers, tasks)
        common: dict[str, Any] = {"tasks": tasks, "workers": workers, "logging_dir": str(logs)}
        executor: PipelineExecutor
        if self._kind == "slurm":
            self._last = SlurmPipelineExecutor(
                pipeline,
                depends=self._last,
                mem_per_cpu_gb=max(1, round(self._worker_gb)),
                job_name=f"prepare-{name}",
                env_command=f'export PATH="{Path(sys.executable).parent}:$PATH"',
                qos="",
                **self._slurm,
                **common,
            )
            return
        if self._kind == "ray":
            executor = RayPipelineExecutor(pipeline, mem_per_cpu_gb=self._worker_gb, **common)
        else:
            executor = _Local(pipeline, **common)
            executor.log = self._logs / _LOG
        try:
            executor.run()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed (perhaps for want of memory); the same command "
                "continues, perhaps with fewer --workers"
            ) from None
        if executor.get_incomplete_ranks():
            raise UserError(f"a task of {name} failed: see {logs / 'logs'}")

    def finish(self) -> bool:
        """Hands over to Slurm what it has to do; whether all is done already.

        Raises:
          UserError: Slurm refuses it.
        """
        if self._last is None:
            return True
        try:
            self._last.run()
        except subprocess.CalledProcessError as error:
            raise UserError(f"--executor slurm: {error}") from None
        return False


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
