"""The pieces of one worker, some of them ready."""

import collections
import threading

from mmrec_jax.data.process_memory import process_memory
from mmrec_jax.data.stream.group import Piece
from mmrec_jax.data.stream.task import Failure, Task
from mmrec_jax.data.worker_process import WorkerEndedError, WorkerProcess
from mmrec_jax.errors import UserError

# Memory that is freed goes back to the system: glibc would raise the second one by itself.
_FREED_IS_GIVEN_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**17)}


class PieceQueue:
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
        self._worker = WorkerProcess(
            "mmrec_jax.data.stream.worker", "lower config.data.ram_mb", _FREED_IS_GIVEN_BACK
        )
        threading.Thread(target=self._receive, args=(task,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._worker.pid

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
        self._worker.close()

    def _receive(self, task: Task) -> None:
        """The thread that fills the queue."""
        try:
            self._worker.send(task)
            while self._has_room():
                message = self._worker.receive()
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
        except WorkerEndedError as end:
            self._fail(
                UserError(
                    f"the input process {self.pid} {end}. Training stops; the last complete "
                    "checkpoint is intact and the same command continues from it"
                )
            )
        finally:
            self._worker.stop_receiving()

    def _has_room(self) -> bool:
        """Waits until a piece may be taken in; False once all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self.limit)
            return not self._closed

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
