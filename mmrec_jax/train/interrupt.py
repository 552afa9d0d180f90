"""Ctrl-C and SIGTERM: before the first step leave at once, after it finish the step and save."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_EXIT_BASE = 128  # shells report a process ended by signal n as 128 + n
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FLUSH_SECONDS = 1.0


class Interrupt:
    """While active, the first SIGINT or SIGTERM only sets `received`; a second one acts at once."""

    _active: "Interrupt | None" = None  # the one that `exit_on_signal` leaves a first signal to

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupt":
        """Installs the handlers (in the main thread; elsewhere signals never arrive)."""
        if _watched:
            Interrupt._active = self
            return self
        for number in _SIGNALS:
            try:
                self._previous[number] = signal.signal(number, self._receive)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *unused: object) -> None:
        Interrupt._active = None
        self._restore()

    @property
    def exit_status(self) -> int:
        """Status to exit with after the signal, as a shell would report it; 0 without one."""
        return 0 if self.received is None else _EXIT_BASE + self.received

    def agree(self, number: int) -> None:
        """Takes the signal of this number as received, if it is one; 0 is none."""
        if number:
            self.received = signal.Signals(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}


_watched = False


def exit_on_signal() -> None:
    """From now on a SIGINT or SIGTERM ends this process, unless an `Interrupt` takes it.

    A thread receives the signals: Python's own handlers wait until the main thread is back from
    the compiler, minutes later, and tearing the runtime down under a compilation is a
    segmentation fault.
    """
    global _watched
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    threading.Thread(target=_watch, args=(reading, writing), daemon=True).start()
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, lambda number, frame: None)
    _watched = True


@contextlib.contextmanager
def process_that_trains() -> Iterator[None]:
    """`exit_on_signal`, and a failure that ends the process at once: threads may still compile."""
    exit_on_signal()
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, int) and end.code:
            exit_now(end.code)
        raise


def _watch(reading: socket.socket, writing: socket.socket) -> None:
    with reading, writing:  # the sockets live as long as the thread
        while True:
            for number in reading.recv(64):
                if number not in _SIGNALS:
                    continue
                interrupt = Interrupt._active
                if interrupt is None or interrupt.received is not None:
                    os.write(2, b"interrupted\n")
                    exit_now(_EXIT_BASE + number)
                interrupt.agree(number)


def exit_now(status: int) -> NoReturn:
    """Ends this process with its output flushed and without waiting for any of its threads."""

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()

    # In a thread, since the main thread may hold a stream's lock in a write that never ends.
    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    thread.join(_FLUSH_SECONDS)
    os._exit(status)
