"""How much memory a preparation may take, and a watch over it."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import psutil

from mmrec_jax.errors import UserError

# What a process takes for the libraries (MB), for the documents in its hands, and for the model
# that tells languages; a tokenizer by the size of its file.
_PROCESS, _DOCUMENTS, _LANGUAGES, _TOKENIZER_FACTOR = 60, 90, 80, 11
_INTERVAL = 0.25  # seconds between two looks


def affordable_workers(wanted: int, ram_mb: float, tokenizer_bytes: int, *, languages: bool) -> int:
    """How many of the wanted workers fit into the memory; one alone works in this process.

    Raises:
      UserError: not even one does.
    """
    each = _DOCUMENTS + _TOKENIZER_FACTOR * tokenizer_bytes / 1e6 + _LANGUAGES * languages
    own = _tree_mb()
    if own + each > ram_mb:
        raise UserError(
            f"--ram-mb is {ram_mb:,.0f}, but the preparation needs about {own + each:,.0f}"
        )
    return max(1, min(wanted, int((ram_mb - own) // (_PROCESS + each))))


class MemoryWatch:
    """Looks after the memory of this process and those below it.

    Attributes:
      peak_mb: the most that was seen: the sum of what each process has for itself (USS).
    """

    def __init__(self, ram_mb: float, tell: Callable[[], None]) -> None:
        """Watches nothing yet; `tell` is called at each look, from another thread."""
        self.peak_mb = 0.0
        self._ram_mb = ram_mb
        self._tell = tell
        self._stop = threading.Event()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watches while the body runs, which has to be in the main thread.

        Raises:
          UserError: more than there may be was taken; the body was interrupted.
        """
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if self.peak_mb <= self._ram_mb:
                raise
            raise UserError(
                f"the preparation takes {self.peak_mb:,.0f} MB and --ram-mb allows "
                f"{self._ram_mb:,.0f}: raise it, or take fewer --workers; the same command "
                "continues"
            ) from None
        finally:
            self._stop.set()
            thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._tell()
            self.peak_mb = max(self.peak_mb, _tree_mb())
            if self.peak_mb > self._ram_mb:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
        self._tell()


def _tree_mb() -> float:
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().uss / 1e6
    return total
