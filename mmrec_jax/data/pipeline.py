"""The endless stream of training text, on grain: can be stopped and continued anywhere.

    chunks, in a new order each epoch, every V-th one -> windows -> packed rows -> mixture
    documents, in a new order each epoch, every B-th one -> concatenated, split into rows

A batch has a fixed number of virtual shards, each of which reads its rows of every batch. Each is a
grain pipeline with a position of its own, so batches do not depend on the number of processes: a
process hosts some shards, a checkpoint holds all of them.
"""

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.chunks import Chunks, Window, document_runs
from mmrec_jax.data.kinds.text import PackedConfig
from mmrec_jax.data.mixture import MixedRows
from mmrec_jax.data.packing import Row, batch_of, one_segment, pack, segments_row
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.errors import UserError

_MOST_SHARDS = 8
_READY_BATCHES = 4
_FILL_BATCHES, _FILL_TOKENS = 64, 2**20
_CHUNK = 2**16  # tokens of a long document that are read at once
_LARGEST_ID = 2**31 - 1
_AT_ONCE = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """How some text becomes batches.

    Windows are packed into rows; with `carry_state` each row continues the same row of the batch
    before, without padding, and the segment id is the number of the document in the endless
    stream of all epochs, so neighbours never have the same one. Text that is smaller than a batch
    is refused with a `UserError`.
    """

    # The stores of each part of the text; several parts are mixed by `config.stages`
    groups: Sequence[Sequence[TokenStore]]
    config: PackedConfig  # `seq_len`, `seed`, `shards`, `packing_windows` and `stages` are used
    batch_size: int  # rows of a step over all processes
    carry_state: bool = False
    # What was read before the first batch, as `epochs` counts it
    read: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self._num_pairs < self.config.seq_len * self.batch_size:
            raise UserError(
                f"the training text is smaller than a batch: it has {self._num_pairs} tokens and "
                "config.train.batch_size x config.data.seq_len is "
                f"{self.batch_size} x {self.config.seq_len}; lower one of them or add text"
            )

    def iterator(self, process_index: int, process_count: int) -> TrainIterator:
        """The rows of one of so many processes, from the beginning.

        Raises:
          UserError: the shards do not divide evenly over the processes.
        """
        if self.num_shards % process_count:
            raise UserError(
                f"config.train.batch_size is {self.batch_size}: its rows are read in "
                f"{self.num_shards} shards, which do not divide evenly over {process_count} "
                f"processes; make both it and config.data.shards multiples of {process_count}"
            )
        identity = {
            "data.pipeline": 2,
            "data.train": [_fingerprint(group)[:16] for group in self.groups],
            "data.seq_len": self.config.seq_len,
            "data.seed": self.config.seed,
            "data.shards": self.num_shards,
            "train.batch_size": self.batch_size,
            "train.carry_state": self.carry_state,
        }
        if not self.carry_state:
            identity["data.packing_windows"] = self.config.packing_windows
            identity["data.weights"] = self.config.stages or None
        each = self.num_shards // process_count
        hosted = range(process_index * each, (process_index + 1) * each)
        return _ShardedBatches(self, hosted, identity)

    @property
    def tokens_per_step(self) -> float:
        """How many tokens a step predicts in the mean, padding not counted."""
        return self.batch_size * self.config.seq_len * self.fill()

    def fill(self) -> float:
        """Share of the positions that are not padding, in the first 64 batches or fewer."""
        if self.carry_state:
            return 1.0
        positions = self.rows_per_shard * self.config.seq_len
        steps = min(_FILL_BATCHES, max(1, _FILL_TOKENS // (self.num_shards * positions)))
        tokens = [
            np.count_nonzero(row["segment_ids"])
            for shard in range(self.num_shards)
            for row in itertools.islice(iter(self.rows(shard)), steps * self.rows_per_shard)
        ]
        return float(np.mean(tokens)) / self.config.seq_len

    @functools.cached_property
    def num_shards(self) -> int:
        """V, the virtual shards of a batch."""
        if self.carry_state:
            return self.batch_size
        count = self.config.shards or math.gcd(self.batch_size, _MOST_SHARDS)
        expected = f"a divisor of {self.batch_size}, the batch size"
        self.config.require(self.batch_size % count == 0, "shards", expected)
        return count

    @property
    def rows_per_shard(self) -> int:
        """Rows of a batch that each shard reads."""
        return self.batch_size // self.num_shards

    def rows(self, shard: int) -> grain.IterDataset[Row]:
        """The endless rows of one shard."""
        seed, stages = self.config.seed, self.config.stages
        if self.carry_state:
            chunks, borders = self._documents
            first = self._first("epochs", len(borders) - 1)
            return _carried_rows(chunks, borders, self.config, first + shard, self.batch_size)
        rows = [
            _packed_rows(
                chunks,
                self.config,
                hashed_seed("windows", seed, number),
                self._first(self._name(group), len(chunks)) + shard,
                self.num_shards,
            )
            for number, (group, chunks) in enumerate(zip(self.groups, self._chunks, strict=True))
        ]
        return MixedRows(rows, stages, self.rows_per_shard) if stages else rows[0]

    def epochs(self, states: list[dict[str, Any]]) -> dict[str, float]:
        """How often each part was read, by the states of some shards."""
        if self.carry_state:
            sizes = [("epochs", len(self._documents[1]) - 1, 0.0)]
        else:
            sizes = [self._epoch(*each) for each in zip(self.groups, self._chunks, strict=True)]
        epochs = {}
        for part, (name, length, per_row) in enumerate(sizes):
            own = [state.get("sources", [state])[part] for state in states]
            read = np.mean([_chunks_read(each, per_row) for each in own])
            begun = self._first(name, length)
            epochs[name] = (begun + float(read) * self.num_shards) / length
        return epochs

    def _first(self, name: str, length: int) -> int:
        """Which of the `length` parts of an epoch, counted on in later epochs, is read first."""
        return round(self.read.get(name, 0) * length)

    def _epoch(self, group: Sequence[TokenStore], chunks: Chunks) -> tuple[str, int, float]:
        """Its name, the chunks in it, and about how many of them a row holds."""
        per_row = self.config.seq_len / float(np.mean(chunks.lengths))
        return self._name(group), len(chunks), per_row

    def _name(self, group: Sequence[TokenStore]) -> str:
        return f"epochs of {group[0].name}" if self.config.stages else "epochs"

    @functools.cached_property
    def _num_pairs(self) -> int:
        """How many tokens are predicted in an epoch."""
        return sum(store.num_pairs for group in self.groups for store in group)

    @functools.cached_property
    def _chunks(self) -> list[Chunks]:
        return [Chunks(group, self.config.seq_len) for group in self.groups]

    @functools.cached_property
    def _documents(self) -> tuple[Chunks, NDArray[np.int64]]:
        """Chunks of documents, and the borders of the runs that the batch rows share out."""
        (group,) = self.groups
        share = -(-self._num_pairs // self.batch_size)
        chunks = Chunks(group, min(_CHUNK, share))
        return chunks, document_runs(chunks, share)


class _ShardedBatches(TrainIterator):
    """The rows of some shards, as batches, assembled in a background thread."""

    def __init__(self, pipeline: Pipeline, hosted: range, identity: dict[str, Any]) -> None:
        super().__init__(identity)
        rows = [
            pipeline.rows(shard).batch(pipeline.rows_per_shard, batch_fn=np.stack)
            for shard in hosted
        ]
        batches = grain.experimental.ZipIterDataset(rows).map(batch_of)
        self._pipeline, self._hosted = pipeline, hosted
        self._iterator = iter(
            grain.experimental.ThreadPrefetchIterDataset(
                batches, prefetch_buffer_size=_READY_BATCHES
            )
        )

    def __next__(self) -> Batch:
        return next(self._iterator)

    def _get_position(self) -> dict[str, Any]:
        states = zip(self._hosted, self._iterator.get_state()["parents"], strict=True)
        return {"shards": {str(shard): state for shard, state in states}}

    def _set_position(self, position: dict[str, Any]) -> None:
        states = [_with_tuples(position["shards"][str(shard)]) for shard in self._hosted]
        self._iterator.set_state({"parents": states})

    def metrics(self) -> dict[str, float]:
        return self._pipeline.epochs(self._iterator.get_state()["parents"])

    def start(self) -> None:
        self._iterator.start_prefetch()

    def close(self) -> None:
        self._iterator.close()


def _packed_rows(
    chunks: Chunks, config: PackedConfig, seed: int, first: int, shards: int
) -> grain.IterDataset[Row]:
    """Rows of windows that each begin from the zero state; each epoch has an order of its own."""
    seq_len = config.seq_len
    order = grain.MapDataset.source(chunks).shuffle(seed >> 33).repeat()[first::shards]
    # Of a small text at most an epoch is packed together: rows would mix several.
    together = min(config.packing_windows, -(-len(chunks) // shards))
    windows = order.to_iter_dataset(_AT_ONCE)
    groups = windows.batch(together, batch_fn=list).map_with_index(
        lambda number, group: (np.random.default_rng([seed, first, number]), group)
    )

    def rows_of(drawn: tuple[np.random.Generator, list[Window]]) -> list[list[Window]]:
        rng, group = drawn
        rows = pack([window.length for window in group], seq_len)
        # The rows that were begun last are the emptiest: any order but this one.
        return [[group[window] for window in rows[row]] for row in rng.permutation(len(rows))]

    rows = grain.experimental.FlatMapIterDataset(groups, _FlatMap(rows_of))
    return rows.map(lambda row: segments_row(row, seq_len))


def _carried_rows(
    chunks: Chunks, borders: NDArray[np.int64], config: PackedConfig, first: int, rows: int
) -> grain.IterDataset[Row]:
    """Documents from the first token to the last, end to end, each epoch in another order."""
    seed = hashed_seed("rows", config.seed) >> 33
    order = grain.MapDataset.range(len(borders) - 1).shuffle(seed)
    documents = order.repeat().map_with_index(lambda number, run: (number, run))[first::rows]

    def chunks_of(document: tuple[int, int]) -> list[tuple[int, int]]:
        number, run = document
        segment_id = number % _LARGEST_ID + 1
        return [(segment_id, chunk) for chunk in range(borders[run], borders[run + 1])]

    def read(chunk: tuple[int, int]) -> dict[str, Row]:
        segment_id, number = chunk
        return {"row": one_segment(chunks[number], segment_id)}

    segments = grain.experimental.FlatMapIterDataset(
        documents.to_iter_dataset(_AT_ONCE), _FlatMap(chunks_of)
    ).map(read)
    whole = grain.experimental.ConcatThenSplitIterDataset(
        segments, length_struct={"row": config.seq_len}
    )
    return whole.map(lambda element: element["row"])


class _FlatMap(grain.experimental.FlatMapTransform):
    max_fan_out = 0  # of no interest to an iterator

    def __init__(self, split: Callable[[Any], Sequence[Any]]) -> None:
        self._split = split

    def flat_map(self, element: Any) -> Sequence[Any]:
        return self._split(element)


def _fingerprint(stores: Sequence[TokenStore]) -> str:
    """sha256 (hex) of the tokens of some stores."""
    parts = [store.fingerprint for store in stores]
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _with_tuples(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a shard from JSON: `ConcatThenSplitIterDataset` tells tuples from lists."""
    name = "remainder_slices"
    if name not in state:
        return state
    return state | {name: {each: tuple(ends) for each, ends in state[name].items()}}


def _chunks_read(state: Any, per_row: float) -> float:
    """How many chunks a shard has read, by grain's state of one source; the group in part."""
    if "next_index" in state:
        return float(state["next_index"])
    inner = next(value for value in state.values() if isinstance(value, dict) and value)
    return _chunks_read(inner, 0) + per_row * state.get("next_index_in_buffer", 0)
