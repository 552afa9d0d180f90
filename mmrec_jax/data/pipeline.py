"""The endless stream of training text, which can be stopped and continued anywhere."""

import math
from typing import Any

import numpy as np

from mmrec_jax.data.kinds.text import PackedConfig
from mmrec_jax.data.lanes import LaneStream
from mmrec_jax.data.packed_stream import PackedStream
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.train_iterator import TrainIterator, process_rows
from mmrec_jax.errors import UserError

_FILL_BATCHES = 64


def make_train_iterator(
    store: TokenStore,
    config: PackedConfig,
    batch_size: int,
    *,
    carry_state: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> TrainIterator:
    """Shuffled batches of the training split, epoch after epoch.

    Windows are packed into rows (`PackedStream`); with `carry_state` rows continue each other
    (`LaneStream`). Batches do not depend
    on the number of processes, each of which builds its own rows of them; neither does the place in
    the stream, so a run of N processes continues on M.

    Args:
      store: the training split.
      config: `seq_len`, `seed` and (without `carry_state`) `packing_windows` are used.
      batch_size: rows of a step over all processes.
      carry_state: whether a row continues the same row of the batch before.
      process_index: this process, from 0.
      process_count: P; every process gets `batch_size // P` rows.

    Returns:
      An iterator of batches [batch_size // P, seq_len] with `get_state` and `set_state`.

    Raises:
      UserError: the corpus is smaller than one row or one batch, or `batch_size` is not a multiple
        of the number of processes, or `weights` does not suit the sources.
    """
    _check_size(store, config.seq_len, batch_size)
    rows = process_rows(batch_size, process_index, process_count)
    identity: dict[str, Any] = {
        "tokens": store.fingerprint[:16],
        "data.seq_len": config.seq_len,
        "data.seed": config.seed,
        "train.batch_size": batch_size,
        "train.carry_state": carry_state,
    }
    if carry_state:
        expected = f'empty with config.train.carry_state and config.data.source "{config.source}"'
        config.require(not config.source_weights, "weights", expected)
        lanes = LaneStream(store, config.seq_len, batch_size, rows, config.seed)
        return TrainIterator(lanes, identity)
    identity["data.packing_windows"] = config.packing_windows
    identity["data.weights"] = config.source_weights
    packed = PackedStream(
        store,
        config.seq_len,
        batch_size,
        rows,
        config.packing_windows,
        config.seed,
        config.source_weights,
    )
    return TrainIterator(packed, identity)


def steps_for(
    store: TokenStore,
    config: PackedConfig,
    batch_size: int,
    *,
    carry_state: bool = False,
    epochs: float | None = None,
    tokens: int | None = None,
) -> int:
    """How many steps predict at least `epochs` x the corpus, or `tokens` tokens.

    Padding makes a batch hold fewer tokens than B x T: the fill is measured on the first 64
    batches of the stream, so the answer depends on the arguments alone. With `carry_state` there
    is no padding. Exactly one of the two lengths is given.

    Raises:
      UserError: as `make_train_iterator`.
    """
    if (epochs is None) == (tokens is None):
        raise ValueError("give exactly one of epochs and tokens")
    wanted = tokens if tokens is not None else (epochs or 0) * store.num_pairs
    if carry_state:
        per_batch: float = batch_size * config.seq_len
    else:
        per_batch = tokens_per_batch(store, config, batch_size)
    return max(1, math.ceil(wanted / per_batch))


def tokens_per_batch(store: TokenStore, config: PackedConfig, batch_size: int) -> float:
    """Mean number of predicted tokens in a batch, measured on the first 64 of the stream."""
    batches = make_train_iterator(store, config, batch_size)
    counts = [np.count_nonzero(next(batches)["segment_ids"]) for _ in range(_FILL_BATCHES)]
    return float(np.mean(counts))


def _check_size(store: TokenStore, seq_len: int, batch_size: int) -> None:
    if store.num_pairs < seq_len:
        raise UserError(
            f"the training text is smaller than a row: it has {store.num_pairs} tokens and "
            f"config.data.seq_len is {seq_len}; lower it or add text"
        )
    if store.num_pairs < seq_len * batch_size:
        raise UserError(
            f"the training text is smaller than a batch: it has {store.num_pairs} tokens and "
            f"config.train.batch_size x config.data.seq_len is {batch_size} x {seq_len}; lower "
            "one of them or add text"
        )
