"""A worker: a process of this package that is talked to in pickles, over its standard streams."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NOTHING: Mapping[str, str] = {}
_SECONDS_TO_END = 5
# What reading the other end's pickles raises when that end has gone, at whatever moment.
_ENDED = (EOFError, OSError, pickle.UnpicklingError, ValueError)


class WorkerEndedError(Exception):
    """A worker says nothing more; the text says how it ended."""


class WorkerProcess:
    """A worker, as the process sees it that started it.

    Attributes:
      pid: of the process.
    """

    def __init__(self, module: str, remedy: str, environment: Mapping[str, str] = _NOTHING) -> None:
        """Starts it.

        Args:
          module: what it runs as its program; that makes a `ParentProcess` of its streams.
          remedy: what a user may do who has too little memory for it, as in "lower X".
          environment: variables that it has beside those of this process.
        """
        self._remedy = remedy
        # Ctrl-C is for this process: a worker has it blocked from its first instruction on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment() | dict(environment),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = self._process.pid

    def send(self, value: object) -> None:
        """Writes a pickle.

        Raises:
          WorkerEndedError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            _write(value, self._process.stdin)
        except _ENDED:
            raise self._ended() from None

    def receive(self) -> Any:
        """The next pickle, as soon as it is there.

        Raises:
          WorkerEndedError: the process has ended, or sends what is no pickle.
        """
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except _ENDED:
            raise self._ended() from None

    def close(self) -> None:
        """Lets the process end by itself, which it does when its input ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # of what was never sent
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.wait()

    def stop_receiving(self) -> None:
        """Closes the pipe from the process; only who receives may do so."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ended(self) -> WorkerEndedError:
        try:
            status = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return WorkerEndedError("sends nothing that can be read")
        if status >= 0:
            return WorkerEndedError(f"ended with status {status}")
        how = f"was killed by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL:
            how += f" (the system may be out of memory: {self._remedy})"
        return WorkerEndedError(how)


class ParentProcess:
    """The process that started this one, as this one, a worker, sees it.

    It ends when a pipe closes, so a worker outlives the process by a moment at most, however that
    one ended.
    """

    def __init__(self) -> None:
        """Takes the standard output: what a library prints goes to standard error from now on."""
        sys.stdout.flush()
        self._output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def receive(self) -> Any:
        """The next pickle.

        Raises:
          EOFError: there are no more.
        """
        return pickle.load(sys.stdin.buffer)

    def send(self, value: object) -> None:
        """Writes a pickle.

        Raises:
          BrokenPipeError: nobody reads it.
        """
        _write(value, self._output)

    def wait_for_end(self) -> None:
        """Returns when the process has ended, or has closed the pipe; it must send no more."""
        os.read(sys.stdin.fileno(), 1)


def _write(value: object, stream: Any) -> None:
    pickle.dump(value, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _environment() -> dict[str, str]:
    """A worker finds this package, and runs one thread."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return os.environ | {
        "PYTHONPATH": path,
        "TOKENIZERS_PARALLELISM": "false",
        **dict.fromkeys(threads, "1"),
    }
