"""Who runs the tasks of a stage: processes of this machine, Ray, or Slurm."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from datatrove.executor import (
    LocalPipelineExecutor,
    RayPipelineExecutor,
    SlurmPipelineExecutor,
)
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError

ExecutorKind = Literal["local", "ray", "slurm"]
LOG = "prepare.log"
_AGAIN = "the same command continues"


class _TellErrors(PipelineExecutor):
    """Leaves the mistake of a user where whoever started the tasks finds it."""

    def _run_for_rank(self, rank: int, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._run_for_rank(rank, *args, **kwargs)
        except (UserError, OSError) as error:
            path = Path(self.logging_dir.resolve_paths(f"error-{rank:06d}"))
            with contextlib.suppress(OSError):  # the disk is full
                replace_file(path, str(error).encode("utf-8", "surrogateescape"))
            raise


class _Local(_TellErrors, LocalPipelineExecutor):
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
            pipeline = self.pipeline
            for rank in ranks:
                self.pipeline = deepcopy(pipeline)
                self._run_for_rank(rank)
            return
        before = set(multiprocessing.active_children())
        pool = concurrent.futures.ProcessPoolExecutor(
            self.workers,
            multiprocessing.get_context("spawn"),
            _begin_worker,
            (str(self.log),),
        )
        try:
            waiting = [pool.submit(self._run_for_rank, rank, 1) for rank in ranks]
            for done in concurrent.futures.as_completed(waiting):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - before:
                worker.kill()
            raise
        pool.shutdown()


def _begin_worker(log: str) -> None:
    """Sets a worker up: its chatter goes into a file, and it ends only with its parent."""
    sys.stderr = open(log, "a", encoding="utf-8")  # noqa: SIM115 - until the process ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Ray(_TellErrors, RayPipelineExecutor):
    pass


class _Slurm(_TellErrors, SlurmPipelineExecutor):
    pass


@contextlib.contextmanager
def quiet(logs: Path) -> Iterator[None]:
    """Sends what datatrove says in this process into a file of a folder."""
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / LOG, "a", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        logger.remove()
        logger.add(stream)
        try:
            yield
        finally:
            logger.remove()


class Runner:
    """Runs one stage after the other."""

    def __init__(
        self, kind: ExecutorKind, workers: int, worker_mb: float, logs: Path, slurm: dict[str, str]
    ) -> None:
        """Connects to a Ray cluster, or starts one on this machine.

        Args:
          kind: who runs the tasks.
          workers: how many at once.
          worker_mb: memory of each, as Ray and Slurm are told.
          logs: the folder for datatrove's logs and lists of the tasks that are done.
          slurm: "partition" and "time" of the jobs.

        Raises:
          UserError: Ray is not installed, or Slurm's partition is not given.
        """
        if kind == "slurm" and not slurm.get("partition"):
            raise UserError("--executor slurm needs --slurm-partition")
        self._kind, self._workers, self._logs, self._slurm = kind, workers, logs, slurm
        self._gigabytes = worker_mb / 1000
        self._last: SlurmPipelineExecutor | None = None
        if kind == "ray":
            _connect_to_ray(workers)

    def run(self, name: str, pipeline: list[PipelineStep], tasks: int) -> None:
        """Runs the tasks of a stage that are not done; for Slurm, hands them over.

        Raises:
          UserError: a task cannot be done; the others may have been.
        """
        logs = self._logs / name
        for path in logs.glob("error-*"):
            path.unlink()
        common: dict[str, Any] = {
            "tasks": tasks,
            "workers": min(self._workers, tasks),
            "logging_dir": str(logs),
        }
        if self._kind == "slurm":
            self._last = _Slurm(
                pipeline,
                depends=self._last,
                mem_per_cpu_gb=max(1, round(self._gigabytes)),
                job_name=f"prepare-{name}",
                env_command=f'export PATH="{Path(sys.executable).parent}:$PATH"',
                qos="",
                **self._slurm,
                **common,
            )
            return
        if self._kind == "ray":
            executor: PipelineExecutor = _Ray(pipeline, mem_per_cpu_gb=self._gigabytes, **common)
        else:
            executor = _Local(pipeline, **common)
            executor.log = self._logs / LOG
        try:
            executor.run()
        except BrokenProcessPool:
            raise UserError(
                f"a worker process was killed (perhaps for want of memory); {_AGAIN}, or with "
                "fewer --workers"
            ) from None
        if executor.get_incomplete_ranks():
            told = [path.read_text("utf-8", "replace") for path in sorted(logs.glob("error-*"))]
            raise UserError(told[0] if told else f"{name}: a task failed: see {logs}; {_AGAIN}")

    def finish(self) -> bool:
        """Submits what Slurm has to do; whether all is done already."""
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
        raise UserError(
            "--executor ray needs another package: pip install 'mmrec_jax[ray]'"
        ) from None
    if not ray.is_initialized():
        # Without an address, on this machine alone.
        own = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False, **own)
