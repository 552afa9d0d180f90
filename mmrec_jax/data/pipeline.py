"""The endless stream of training text, on grain: can be stopped and continued anywhere.

    chunks, in a new order each epoch, every V-th one -> windows -> packed rows -> mixture
    documents, in a new order each epoch, every B-th one -> concatenated, split into rows

A batch has a fixed number of virtual shards, each of which reads its rows of every batch. Each is a
grain pipeline with a position of its own, so batches do not depend on the number of processes: a
process hosts some shards, a checkpoint holds all of them.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.corpus import Chunks, Corpus, Window, document_runs
from mmrec_jax.data.kinds.text import PackedConfig
from mmrec_jax.data.mixture import MixedRows, Mixture
from mmrec_jax.data.packing import Row, batch_of, one_segment, pack, segments_row
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.errors import UserError

_MOST_SHARDS = 8
_READY_BATCHES = 4
_FILL_BATCHES = 64
_FILL_TOKENS = 2**20  # of mapped text, which is encoded for it
# Tokens of mapped text that each shard packs together, and so encodes before its first row; no
# fewer windows than these, which would leave padding.
_PACKED_TOKENS, _LEAST_WINDOWS = 2**19, 64
_CHUNK = 2**16  # tokens of a long document that are read at once
_LARGEST_ID = 2**31 - 1
_AT_ONCE = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
_AHEAD = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)


@dataclasses.dataclass(frozen=True)
class _Shards:
    """The rows of a batch by virtual shard.

    Attributes:
      count: V.
      rows: makes the endless rows of one.
      epoch: of each source, by name: chunks (or runs of them) that all shards read in an epoch, and
        about how many of them a row holds.
    """

    count: int
    rows: Callable[[int], grain.IterDataset[Row]]
    epoch: dict[str, tuple[int, float]]


class _ShardedBatches:
    """The rows of some shards, as batches (`BatchStream`), assembled in a background thread."""

    def __init__(self, shards: _Shards, hosted: range, rows_per_shard: int) -> None:
        rows = [shards.rows(shard).batch(rows_per_shard, batch_fn=np.stack) for shard in hosted]
        batches = grain.experimental.ZipIterDataset(rows).map(batch_of)
        self._shards, self._hosted = shards, hosted
        self.iterator = iter(
            grain.experimental.ThreadPrefetchIterDataset(
                batches, prefetch_buffer_size=_READY_BATCHES
            )
        )

    def __next__(self) -> Batch:
        return next(self.iterator)

    def get_state(self) -> dict[str, Any]:
        states = zip(self._hosted, self.iterator.get_state()["parents"], strict=True)
        return {"shards": {str(shard): state for shard, state in states}}

    def set_state(self, state: dict[str, Any]) -> None:
        states = [_with_tuples(state["shards"][str(shard)]) for shard in self._hosted]
        self.iterator.set_state({"parents": states})

    def metrics(self) -> dict[str, float]:
        states = [state.get("sources", [state]) for state in self.iterator.get_state()["parents"]]
        metrics = {}
        for source, (name, (length, per_row)) in enumerate(self._shards.epoch.items()):
            read = [_chunks_read(state[source], per_row) for state in states]
            metrics[name] = float(np.mean(read)) * self._shards.count / length
        return metrics


class ShardedIterator(TrainIterator):
    """The `TrainIterator` of shards."""

    def __init__(self, batches: _ShardedBatches, identity: dict[str, Any]) -> None:
        super().__init__(batches, identity)
        self._iterator = batches.iterator

    def start(self) -> None:
        """See `TrainIterator.start`."""
        self._iterator.start_prefetch()

    def close(self) -> None:
        """See `TrainIterator.close`."""
        self._iterator.close()


def make_train_iterator(
    corpora: Sequence[Corpus],
    config: PackedConfig,
    batch_size: int,
    *,
    carry_state: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainIterator:
    """Shuffled batches of the training split, epoch after epoch.

    Windows are packed into rows; with `carry_state` each row continues the same row of the batch
    before, without padding, and the segment id is the number of the document in the endless
    stream of all epochs, so neighbours never have the same one.

    Args:
      corpora: several are mixed by `config.mixture`.
      config: `seq_len`, `seed`, `shards`, `packing_windows` and `mixture` are used.
      batch_size: rows of a step over all P processes, each of which gets a P-th part.
      carry_state: whether a row continues the same row of the batch before.
      process_index: this process, from 0.
      process_count: P.

    Raises:
      UserError: the corpus is smaller than a row or a batch, or the shards do not divide evenly
        over the processes.
    """
    _check_size(corpora, config.seq_len, batch_size)
    shards = _make_shards(corpora, config, batch_size, carry_state)
    if shards.count % process_count:
        raise UserError(
            f"config.train.batch_size is {batch_size}: its rows are read in {shards.count} shards, "
            f"which do not divide evenly over {process_count} processes; make both it and "
            f"config.data.shards multiples of {process_count}"
        )
    each = shards.count // process_count
    hosted = range(process_index * each, (process_index + 1) * each)
    identity = {
        "data.pipeline": 2,
        "data.train": [corpus.fingerprint[:16] for corpus in corpora],
        "data.seq_len": config.seq_len,
        "data.seed": config.seed,
        "data.shards": shards.count,
        "train.batch_size": batch_size,
        "train.carry_state": carry_state,
    }
    if not carry_state:
        identity["data.packing_windows"] = config.packing_windows
        identity["data.weights"] = _plain(config.mixture)
    return ShardedIterator(_ShardedBatches(shards, hosted, batch_size // shards.count), identity)


def steps_for(
    corpora: Sequence[Corpus],
    config: PackedConfig,
    batch_size: int,
    *,
    carry_state: bool = False,
    epochs: float | None = None,
    tokens: int | None = None,
) -> int:
    """How many steps predict at least `epochs` x the corpus, or `tokens` tokens.

    Padding makes a batch hold fewer tokens than B x T: the fill is measured on the first batches of
    the stream, so the answer depends on the arguments alone. With `carry_state` there is no
    padding. An epoch of mapped text is an estimate (`Corpus.num_pairs`). Exactly one of the two
    lengths is given.

    Raises:
      UserError: as `make_train_iterator`.
    """
    if (epochs is None) == (tokens is None):
        raise ValueError("give exactly one of epochs and tokens")
    _check_size(corpora, config.seq_len, batch_size)
    pairs = sum(corpus.num_pairs for corpus in corpora)
    wanted = tokens if tokens is not None else (epochs or 0) * pairs
    fill = 1.0 if carry_state else measured_fill(corpora, config, batch_size)
    return max(1, math.ceil(wanted / (batch_size * config.seq_len * fill)))


def measured_fill(corpora: Sequence[Corpus], config: PackedConfig, batch_size: int) -> float:
    """Share of the positions of packed rows that are not padding, in the first 64 batches.

    Of mapped text, which must be encoded for it, in about a million tokens at most.
    """
    shards = _make_shards(corpora, config, batch_size, carry_state=False)
    positions = batch_size // shards.count * config.seq_len
    steps = min(_FILL_BATCHES, max(1, _FILL_TOKENS // (shards.count * positions)))
    rows = steps * batch_size // shards.count
    tokens = [
        np.count_nonzero(row["segment_ids"])
        for shard in range(shards.count)
        for row in itertools.islice(iter(shards.rows(shard)), rows)
    ]
    return float(np.mean(tokens)) / config.seq_len


def _make_shards(
    corpora: Sequence[Corpus], config: PackedConfig, batch_size: int, carry_state: bool
) -> _Shards:
    seq_len, seed = config.seq_len, config.seed
    if carry_state:
        (corpus,) = corpora
        chunks, borders = _documents(corpus, batch_size)

        def carried(row: int) -> grain.IterDataset[Row]:
            return _carried_rows(chunks, borders, seq_len, seed, row, batch_size)

        return _Shards(batch_size, carried, {"epochs": (len(borders) - 1, 0.0)})
    count = config.shards or math.gcd(batch_size, _MOST_SHARDS)
    config.require(batch_size % count == 0, "shards", f"a divisor of {batch_size}, the batch size")
    sources = [corpus.chunks(seq_len) for corpus in corpora]
    mixture = config.mixture

    def packed(shard: int) -> grain.IterDataset[Row]:
        rows = [
            _packed_rows(chunks, config, hashed_seed("windows", seed, number), shard, count)
            for number, chunks in enumerate(sources)
        ]
        return rows[0] if mixture is None else MixedRows(rows, mixture, batch_size // count)

    epoch = {}
    for corpus, chunks in zip(corpora, sources, strict=True):
        name = "epochs" if mixture is None else f"epochs of {corpus.sources[0].name}"
        per_row = seq_len * len(chunks) / corpus.num_pairs if chunks.in_memory else 0.0
        epoch[name] = len(chunks), per_row
    return _Shards(count, packed, epoch)


def _packed_rows(
    chunks: Chunks, config: PackedConfig, seed: int, shard: int, shards: int
) -> grain.IterDataset[Row]:
    """Rows of windows that each begin from the zero state; each epoch has an order of its own."""
    seq_len = config.seq_len
    order = grain.MapDataset.source(chunks).shuffle(seed >> 33).repeat()[shard::shards]
    windows = order.to_iter_dataset(_AT_ONCE if chunks.in_memory else _AHEAD)
    # Of a small corpus at most an epoch is packed together: rows would mix several.
    num_windows = int((-(-chunks.lengths // seq_len)).sum())
    together = min(config.packing_windows, -(-num_windows // shards))
    if not chunks.in_memory:
        cut = _FlatMap(lambda part: part.cut(seq_len))
        windows = grain.experimental.FlatMapIterDataset(windows, cut)
        mean_length = int(chunks.lengths.sum(dtype=np.int64)) // num_windows
        together = min(together, max(_LEAST_WINDOWS, _PACKED_TOKENS // mean_length))
    groups = windows.batch(together, batch_fn=list).map_with_index(
        lambda number, group: (np.random.default_rng([seed, shard, number]), group)
    )

    def rows_of(drawn: tuple[np.random.Generator, list[Window]]) -> list[list[Window]]:
        rng, group = drawn
        rows = pack([window.length for window in group], seq_len)
        # The rows that were begun last are the emptiest: any order but this one.
        return [[group[window] for window in rows[row]] for row in rng.permutation(len(rows))]

    rows = grain.experimental.FlatMapIterDataset(groups, _FlatMap(rows_of))
    return rows.map(lambda row: segments_row(row, seq_len))


def _documents(corpus: Corpus, rows: int) -> tuple[Chunks, NDArray[np.int64]]:
    """Chunks of documents, and the borders of the runs that `rows` batch rows share out."""
    chunks = corpus.chunks(_CHUNK)
    share = -(-int(chunks.lengths.sum()) // rows)
    if share < _CHUNK:
        chunks = corpus.chunks(share)
    return chunks, document_runs(chunks, share)


def _carried_rows(
    chunks: Chunks, borders: NDArray[np.int64], seq_len: int, seed: int, row: int, rows: int
) -> grain.IterDataset[Row]:
    """Documents from the first token to the last, end to end, each epoch in another order."""
    order = grain.MapDataset.range(len(borders) - 1).shuffle(hashed_seed("rows", seed) >> 33)
    documents = order.repeat().map_with_index(lambda number, run: (number, run))[row::rows]

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
    whole = grain.experimental.ConcatThenSplitIterDataset(segments, length_struct={"row": seq_len})
    return whole.map(lambda element: element["row"])


class _FlatMap(grain.experimental.FlatMapTransform):
    max_fan_out = 0  # of no interest to an iterator

    def __init__(self, split: Callable[[Any], Sequence[Any]]) -> None:
        self._split = split

    def flat_map(self, element: Any) -> Sequence[Any]:
        return self._split(element)


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


def _check_size(corpora: Sequence[Corpus], seq_len: int, batch_size: int) -> None:
    if any(corpus.texts for corpus in corpora):
        return  # text too large for memory
    pairs = sum(corpus.num_pairs for corpus in corpora)
    if pairs < seq_len:
        raise UserError(
            f"the training text is smaller than a row: it has {pairs} tokens and "
            f"config.data.seq_len is {seq_len}; lower it or add text"
        )
    if pairs < seq_len * batch_size:
        raise UserError(
            f"the training text is smaller than a batch: it has {pairs} tokens and "
            f"config.train.batch_size x config.data.seq_len is {batch_size} x {seq_len}; lower "
            "one of them or add text"
        )


def _plain(mixture: Mixture | None) -> list[Any] | None:
    """Fit for JSON, where it must be equal to what was saved."""
    if mixture is None:
        return None
    return [[first_step, list(weights)] for first_step, weights in mixture.stages]
