import re

import pytest

from mmrec_jax.data.stream.layout import count_shards, first_chunk, hosted_shards
from mmrec_jax.errors import UserError


def test_shards_divide_the_rows():
    assert [count_shards(batch) for batch in (1, 2, 4, 6, 8, 12, 64)] == [1, 2, 4, 2, 8, 4, 8]
    assert [hosted_shards(8, p, 4) for p in range(4)] == [
        range(0, 2),
        range(2, 4),
        range(4, 6),
        range(6, 8),
    ]


def test_each_chunk_has_one_shard_an_epoch_and_each_shard_once():
    for file, chunk in ((0, 0), (3, 1), (5, 12)):
        readers = [
            [shard for shard in range(4) if (chunk - first_chunk(shard, 4, file, epoch)) % 4 == 0]
            for epoch in range(4)
        ]
        assert all(len(each) == 1 for each in readers)
        assert sorted(shard for (shard,) in readers) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("batch", "processes", "said"),
    [(6, 4, "make it a multiple of 12"), (9, 3, "1, 2, 4 or 8 processes, not 3")],
)
def test_processes_that_do_not_divide_the_shards(batch, processes, said):
    with pytest.raises(UserError, match=re.escape(said)):
        hosted_shards(batch, 0, processes)
