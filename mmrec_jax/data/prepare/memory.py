"""How much memory a preparation may take, and a watch over it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import psutil

from mmrec_jax.errors import UserError

MB = 1e6

# What a process takes with NumPy, datatrove and the tokenizers' libraries, and for the documents
# that it holds; the model that tells languages; a tokenizer by the size of its file.
_PROCESS, _DOCUMENTS, _LANGUAGES, _TOKENIZER_FACTOR = 60 * MB, 90 * MB, 80 * MB, 11
_INTERVAL = 0.25  # seconds between two looks


def affordable_workers(wanted: int, budget: float, tokenizer_bytes: int, languages: bool) -> int:
    """How many of the wanted workers fit into a budget; one alone works in this process.

    Raises:
      UserError: not even one does.
    """
    work = _DOCUMENTS + _TOKENIZER_FACTOR * tokenizer_bytes + _LANGUAGES * languages
    own = _tree_memory()
    if own + work > budget:
        raise UserError(
            f"--ram-mb is {budget / MB:,.0f}, but the preparation needs about "
            f"{(own + work) / MB:,.0f}"
        )
    fitting = int((budget - own) // (_PROCESS + work))
    return max(1, min(wanted, fitting))


class MemoryWatch:
    """Looks after the memory of this process and its children.

    Attributes:
      peak: the most that was seen, in bytes.
    """

    def __init__(self, budget: float, tell: Callable[[], None]) -> None:
        """Watches nothing yet.

        Args:
          budget: bytes that the processes may take together: the sum of what each has for itself
            (USS).
          tell: is called at each look, from another thread.
        """
        self.peak = 0.0
        self._budget = budget
        self._tell = tell
        self._stop = threading.Event()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watches while the body runs, which has to be in the main thread.

        Raises:
          UserError: more than the budget was taken; the body was interrupted.
        """
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if self.peak <= self._budget:
                raise
            raise UserError(
                f"the preparation takes {self.peak / MB:,.0f} MB and --ram-mb allows "
                f"{self._budget / MB:,.0f}: raise it, or take fewer --workers; the same command "
                "continues"
            ) from None
        finally:
            self._stop.set()
            thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._tell()
            self.peak = max(self.peak, _tree_memory())
            if self.peak > self._budget:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)
                return
        self._tell()


def _tree_memory() -> float:
    """Bytes of this process and all below it, pages that they share left aside."""
    own = psutil.Process(os.getpid())
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().uss
    return total
