"""A worker as the training process sees it: a queue of ready pieces."""

import collections
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from mmrec_jax.data.process_memory import process_memory
from mmrec_jax.data.stream.group import Piece
from mmrec_jax.data.stream.task import Failure, Task
from mmrec_jax.errors import UserError

_SECONDS_TO_END = 5


class WorkerProcess:
    """Starts a worker, keeps some of its pieces ready, and ends it.

    Attributes:
      limit: with so many pieces ready no more are taken in; may be lowered at any time.
    """

    def __init__(self, task: Task, limit: int) -> None:
        """Starts the process; it begins to work at once."""
        self.limit = limit
        self._ready: collections.deque[Piece] = collections.deque()
        self._failure: Exception | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mmrec_jax.data.stream.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        threading.Thread(target=self._receive, args=(task,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def next_piece(self) -> Piece:
        """The next piece, as soon as it is there.

        Raises:
          UserError: what the worker refused; or the process has been killed.
          RuntimeError: a bug in the worker, with its traceback.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure)
            if not self._ready:
                assert self._failure is not None
                raise self._failure
            if len(self._ready) <= self.limit:  # there is room again
                self._changed.notify_all()
            return self._ready.popleft()

    @property
    def num_ready(self) -> int:
        """Pieces that are there."""
        return len(self._ready)

    @property
    def memory(self) -> int:
        """Bytes: of the process, and of the pieces that are ready here."""
        with self._changed:
            waiting = sum(array.nbytes for piece in self._ready for array in piece.rows.values())
        return process_memory(self.pid) + waiting

    def close(self) -> None:
        """Ends the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, task: Task) -> None:
        """The thread that fills the queue."""
        try:
            self._hand_over(task)
            while self._has_room():
                message: Any = pickle.load(self._process.stdout)  # type: ignore[arg-type]
                if isinstance(message, Failure):
                    self._fail(
                        UserError(message.message)
                        if message.by_user
                        else RuntimeError(f"an input process failed:\n{message.message}")
                    )
                    return
                with self._changed:
                    self._ready.extend(message)
                    self._changed.notify_all()
        except (EOFError, OSError, pickle.UnpicklingError, ValueError):
            self._fail(self._explain_end())
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _hand_over(self, task: Task) -> None:
        assert self._process.stdin is not None
        pickle.dump(task, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def _has_room(self) -> bool:
        """Waits until a piece may be taken in; False once all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self.limit)
            return not self._closed

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def _explain_end(self) -> UserError:
        try:
            status = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return UserError(f"the input process {self.pid} sends nothing that can be read")
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
            if -status == signal.SIGKILL:
                how += " (the system may be out of memory: lower config.data.ram_mb)"
        return UserError(
            f"the input process {self.pid} {how}. Training stops; the last complete checkpoint is "
            "intact and the same command continues from it"
        )


def _environment() -> dict[str, str]:
    """A worker finds this package, runs one thread, and gives memory back when it is freed."""
    package = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return os.environ | {
        "PYTHONPATH": path,
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(2**17),  # set, so that glibc does not raise it by itself
        **dict.fromkeys(threads, "1"),
    }
