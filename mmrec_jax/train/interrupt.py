"""Ctrl-C and SIGTERM: finish the step, save, then leave."""

import signal
from types import FrameType

_EXIT_BASE = 128  # shells report a process ended by signal n as 128 + n


class Interrupt:
    """While active, the first SIGINT or SIGTERM only sets `received`; a second one acts at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupt":
        """Installs the handlers (in the main thread; elsewhere signals never arrive)."""
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._receive)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *unused: object) -> None:
        """Restores the handlers from before."""
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
