"""Which rows of the batch belong to which shard, and which process hosts it.

The stream consists of V virtual shards, each with its own share of the text and of the rows. A
shard depends on neither the number of processes nor that of workers: processes come and go, and
each document is still read by the one shard that it belongs to.
"""

import math

from mmrec_jax.errors import UserError

_MOST_SHARDS = 8


def count_shards(batch_size: int) -> int:
    """V: 8, or as many as divide the rows of a batch and 8. Row b is of shard b // (B / V)."""
    return math.gcd(batch_size, _MOST_SHARDS)


def hosted_shards(batch_size: int, process_index: int, process_count: int) -> range:
    """The shards of one process, those of its rows.

    Raises:
      UserError: the shards do not divide evenly.
    """
    shards = count_shards(batch_size)
    if shards % process_count:
        raise UserError(
            f"config.train.batch_size is {batch_size}: its rows are read in {shards} shards, which "
            f"do not divide evenly over {process_count} processes; make it a multiple of "
            f"{math.lcm(batch_size, process_count)}"
            if process_count in (2, 4, 8)
            else f'config.data.source "stream" is for 1, 2, 4 or 8 processes, not {process_count}'
        )
    each = shards // process_count
    return range(process_index * each, (process_index + 1) * each)


def first_chunk(shard: int, shards: int, file: int, epoch: int) -> int:
    """The first chunk of a file that belongs to a shard; it takes every V-th from there.

    Chunk n of the f-th file is read in epoch e by shard (f + n + e) mod V. So a shard reads each
    chunk once in any V epochs, and text of fewer chunks than shards still feeds all of them.
    """
    return (shard - file - epoch) % shards
