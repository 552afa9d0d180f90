"""Worker processes that tokenise chunks, and who has which."""

import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmrec_jax.data.formats.chunk import Chunk
from mmrec_jax.data.formats.refusals import OnError
from mmrec_jax.data.prepared.encoded_chunk import EncodedChunk, encode_chunk
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.worker_process import WorkerEndedError, WorkerProcess
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import load_tokenizer


class _Worker:
    """One process (`worker`), which is asked for one thing at a time."""

    def __init__(self, opening: Any) -> None:
        """Starts it; it answers once its imports are done.

        Args:
          opening: what it is told first.
        """
        self._process = WorkerProcess("mmrec_jax.data.prepared.worker", "give fewer --workers")
        self.pid = self._process.pid
        self._opening = opening

    def ask(self, chunk: Chunk) -> EncodedChunk:
        """Has a chunk tokenised.

        Raises:
          UserError: what the worker raised, or that it died.
        """
        if self._opening is not None:
            self._exchange(self._opening)
            self._opening = None
        answer: EncodedChunk = self._exchange(chunk)
        return answer

    def stop(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def _exchange(self, value: Any) -> Any:
        try:
            self._process.send(value)
            answer = self._process.receive()
        except WorkerEndedError as end:
            raise UserError(
                f"a worker process of the preparation {end}; the same command continues"
            ) from None
        if isinstance(answer, UserError):
            raise answer
        return answer


class WorkerPool:
    """Processes that tokenise; results are taken in any order.

    With 0 workers the chunks are tokenised in this process, when they are handed in.
    """

    def __init__(
        self, count: int, tokenizer: Path, settings: PrepareSettings, on_error: OnError
    ) -> None:
        """Starts `count` processes, which load the tokenizer from its folder."""
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._encode: Callable[[Chunk], EncodedChunk] = self._ask
        if not count:
            loaded = load_tokenizer(tokenizer)
            self._encode = lambda chunk: encode_chunk(chunk, loaded, settings, on_error)
        self._workers = [_Worker((str(tokenizer), settings, on_error)) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count) if count else None

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [worker.pid for worker in self._workers]

    def submit(self, chunk: Chunk) -> "Future[EncodedChunk]":
        """Has a chunk tokenised; the result raises what `_Worker.ask` does."""
        if self._threads is not None:
            return self._threads.submit(self._encode, chunk)
        done: Future[EncodedChunk] = Future()
        try:
            done.set_result(self._encode(chunk))
        except UserError as error:
            done.set_exception(error)
        return done

    def retire(self) -> bool:
        """Ends one of several workers once it has nothing to do; False: there is only one."""
        if len(self._workers) < 2:
            return False
        worker = self._idle.get()
        self._workers.remove(worker)
        worker.stop()
        return True

    def _ask(self, chunk: Chunk) -> EncodedChunk:
        worker = self._idle.get()
        try:
            return worker.ask(chunk)
        finally:
            self._idle.put(worker)
