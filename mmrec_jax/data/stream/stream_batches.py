"""The batches of one training process, from its workers."""

import threading
from collections import Counter
from typing import Any, Protocol

import numpy as np

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.stream.budget import MEGABYTE, Allowance
from mmrec_jax.data.stream.group import Piece, ShardGroup
from mmrec_jax.data.stream.piece_queue import PieceQueue
from mmrec_jax.data.stream.plan import StreamPlan
from mmrec_jax.data.stream.shard import initial_state, state_after
from mmrec_jax.data.stream.task import Task
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_SECONDS_BETWEEN_CHECKS = 1.0
_MOST_LISTED = 1000  # until the list is asked for


class _Pieces(Protocol):
    def next_piece(self) -> Piece: ...


class StreamBatches:
    """Batches without end (`BatchStream`) of the shards that this process hosts.

    The position is that of each shard, by its number: of several processes, the union. Workers
    start with the first batch and end with `close`, with an error, and with this process.
    """

    def __init__(
        self, plan: StreamPlan, tokenizer: Tokenizer, shards: range, allowance: Allowance
    ) -> None:
        """Begins with the first documents.

        Args:
          plan: of the whole stream.
          tokenizer: of the run.
          shards: those of this process.
          allowance: workers and memory.
        """
        self._plan, self._tokenizer = plan, tokenizer
        self._shards, self._allowance = shards, allowance
        self._batches = 0
        # Of each shard, as it was told last, and after which batch.
        self._positions = {shard: (0, initial_state(plan)) for shard in shards}
        self._epochs = {shard: [0.0] * len(plan.sources) for shard in shards}
        self._workers: list[PieceQueue] = []
        self._pieces: list[_Pieces] = []
        self._memory = 0
        self._over_budget: UserError | None = None
        self._closing = threading.Event()
        self._num_skipped, self._skipped = 0, list[str]()
        self._left_out: Counter[str] = Counter()

    def __next__(self) -> Batch:
        """The next batch: the rows of this process, [lanes x shards, T].

        Raises:
          UserError: the data is wrong, a worker was killed, or `data.ram_mb` does not suffice.
        """
        try:
            self.start()
            pieces = [source.next_piece() for source in self._pieces]
            if self._over_budget is not None:
                raise self._over_budget
        except Exception:
            self.close()
            raise
        self._batches += 1
        for piece in pieces:
            for shard, state in piece.positions.items():
                self._positions[shard] = self._batches, state
            self._epochs |= piece.epochs
            self._left_out.update(piece.left_out)
            self._num_skipped += piece.skipped.count
            self._skipped += piece.skipped.messages[: _MOST_LISTED - len(self._skipped)]
        parts = [piece.rows for piece in pieces]
        batch = parts[0]
        if len(parts) > 1:
            batch = {name: np.concatenate([part[name] for part in parts]) for name in batch}
        return batch | {"weights": np.ones(batch["inputs"].shape, np.float32)}

    def get_state(self) -> dict[str, Any]:
        """See `BatchStream.get_state`: the position of each shard, by its number."""
        return {"shards": {str(shard): self._position(shard) for shard in self._shards}}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchStream.set_state`: positions of at least the shards of this process.

        Raises:
          UserError: one is missing.
        """
        self.close()
        saved = state["shards"]
        missing = [shard for shard in self._shards if str(shard) not in saved]
        if missing:
            raise UserError(
                f"the saved position in the training data lacks shards {missing}: it holds those "
                "of some of the processes alone"
            )
        self._positions = {shard: (self._batches, saved[str(shard)]) for shard in self._shards}

    def metrics(self) -> dict[str, float]:
        """What a log says of the input.

        Records that could not be read, documents that were left out (by the reason), memory in MB,
        ready batches, epochs of each source.
        """
        values: dict[str, float] = {}
        if self._num_skipped:
            values["skipped_records"] = self._num_skipped
        values |= {f"left_out_{reason}": count for reason, count in sorted(self._left_out.items())}
        if self._workers:
            values["input_memory_mb"] = round(self._memory / MEGABYTE, 1)
            values["ready_batches"] = min(worker.num_ready for worker in self._workers)
        epochs = np.mean(list(self._epochs.values()), axis=0).tolist()
        if len(epochs) == 1:
            return values | {"epochs": epochs[0]}
        names = (source.name for source in self._plan.sources)
        return values | {
            f"epochs of {name}": read for name, read in zip(names, epochs, strict=True)
        }

    def warnings(self) -> list[str]:
        """See `TrainIterator.warnings`."""
        lines, self._skipped = self._skipped, []
        return [f"skipped: {line}" for line in lines]

    def worker_ids(self) -> list[int]:
        """The ids of the worker processes."""
        return [worker.pid for worker in self._workers]

    def close(self) -> None:
        """Ends the workers; the next batch would start others where these were."""
        self._closing.set()
        for worker in self._workers:
            worker.close()
        self._workers, self._pieces = [], []

    def start(self) -> None:
        """Starts the workers, unless they work already."""
        if self._pieces:
            return
        self._over_budget = None
        begin = {shard: self._position(shard) for shard in self._shards}
        if not self._allowance.workers:
            self._pieces = [ShardGroup(self._plan, self._shards, self._tokenizer, begin)]
            return
        stored, ready = (self._tokenizer.kind, self._tokenizer.content), self._allowance.ready
        for numbers in np.array_split(np.array(self._shards), self._allowance.workers):
            positions = {shard: begin[shard] for shard in numbers.tolist()}
            task = Task(self._plan, tuple(positions), positions, stored, max(1, ready // 8))
            self._workers.append(PieceQueue(task, ready))
        self._pieces = list(self._workers)
        self._closing = threading.Event()
        threading.Thread(target=self._watch, args=(self._closing,), daemon=True).start()

    def _position(self, shard: int) -> dict[str, Any]:
        told, state = self._positions[shard]
        return state_after(state, self._batches - told, self._plan.seq_len)

    def _watch(self, closing: threading.Event) -> None:
        """The thread that looks at the memory, so that no batch waits for it."""
        while not closing.is_set():
            self._check_memory()
            closing.wait(_SECONDS_BETWEEN_CHECKS)

    def _check_memory(self) -> None:
        """Fewer ready pieces where too much is used, then an error with the next batch."""
        workers = self._workers
        self._memory = sum(worker.memory for worker in workers)
        if self._memory <= self._allowance.megabytes * MEGABYTE:
            return
        limit = workers[0].limit
        if limit == 1:
            self._over_budget = UserError(
                f"config.data.ram_mb is {self._allowance.megabytes}, but the input uses "
                f"{self._memory / MEGABYTE:.0f} MB in {len(workers)} workers with one ready "
                "batch: raise it, or lower config.data.shuffle_mb or config.data.stream_workers"
            )
        for worker in workers:
            worker.limit = max(1, limit // 2)
