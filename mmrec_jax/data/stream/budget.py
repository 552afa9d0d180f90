"""How many workers, and how many ready pieces, an amount of memory allows."""

import dataclasses

from mmrec_jax.data.formats.chunk import CHUNK_BYTES
from mmrec_jax.data.process_memory import tokenizer_memory
from mmrec_jax.data.stream.plan import StreamPlan
from mmrec_jax.errors import UserError

MEGABYTE = 2**20
# Text comes in bursts: what is ready bridges the time in which a block is read.
_READY_BYTES, _MOST_READY, _LEAST_READY = 2 * MEGABYTE, 128, 4
# An interpreter with NumPy, the tokenizer libraries and a small vocabulary (measured: 45 to 60 MB).
_WORKER_BYTES = 60 * MEGABYTE
# Of a shard's block: the buffer grows by an eighth at a time, and a number a document stands beside
# its text. Of the chunk that is being parsed: its bytes, its text, its documents.
_BLOCK_FACTOR, _PARSED_CHUNKS = 1.4, 8
_BYTES_PER_PLACE = 12  # inputs, targets, segment ids


@dataclasses.dataclass(frozen=True)
class Allowance:
    """What the input may use.

    Attributes:
      workers: processes; 0: none, the training process reads by itself.
      ready: pieces that each keeps ready.
      megabytes: `data.ram_mb`, of all workers and ready pieces together.
    """

    workers: int
    ready: int
    megabytes: int


def estimated_bytes(
    plan: StreamPlan, shards: int, workers: int, ready: int, tokenizer_bytes: int
) -> int:
    """About the memory of the input of one process.

    Args:
      plan: of the whole stream.
      shards: that the process hosts.
      workers: that read them.
      ready: pieces that each keeps ready.
      tokenizer_bytes: of the tokenizer's file.
    """
    used = sum(plan.mixture.uses(source) for source in range(len(plan.sources)))
    block = _BLOCK_FACTOR * plan.shuffle.block_bytes * used
    piece = plan.lanes * plan.seq_len * _BYTES_PER_PLACE
    reading = max(1, workers) * _PARSED_CHUNKS * CHUNK_BYTES
    worker = _WORKER_BYTES + tokenizer_memory(tokenizer_bytes)
    return int(workers * worker + reading + shards * (block + (ready + 2) * piece))


def allow(
    plan: StreamPlan, shards: int, wanted: int, megabytes: int, tokenizer_bytes: int
) -> Allowance:
    """The most workers, then the most ready pieces, that fit.

    Args:
      plan: of the whole stream.
      shards: that this process hosts.
      wanted: workers, at most; 0: none.
      megabytes: `data.ram_mb`.
      tokenizer_bytes: of the tokenizer's file.

    Raises:
      UserError: one worker with one ready piece would not fit.
    """

    def estimated(workers: int, ready: int) -> int:
        return estimated_bytes(plan, shards, workers, ready, tokenizer_bytes)

    piece = plan.lanes * plan.seq_len * _BYTES_PER_PLACE * -(-shards // max(1, wanted))
    most = max(_LEAST_READY, min(_MOST_READY, _READY_BYTES // piece))
    choices = [(workers, most) for workers in range(min(wanted, shards), 1, -1)]
    least = min(wanted, 1)
    choices += [(least, ready) for ready in (most, _LEAST_READY, 1)]
    for workers, ready in choices:
        if estimated(workers, ready) <= megabytes * MEGABYTE:
            return Allowance(workers, ready, megabytes)
    needed = estimated(least, 1) / MEGABYTE
    raise UserError(
        f"config.data.ram_mb is {megabytes}; reading this data takes about {needed:.0f} MB (one "
        f"worker, {plan.shuffle.block_bytes / MEGABYTE:g} MB of each source shuffled in "
        f"each of {shards} shards): raise it or lower config.data.shuffle_mb"
    )
