import pytest

from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.stream.blocks import Shuffle
from mmrec_jax.data.stream.budget import MEGABYTE, Allowance, allow
from mmrec_jax.data.stream.group import ShardGroup
from mmrec_jax.data.stream.plan import Admission, StreamPlan
from mmrec_jax.errors import UserError
from tests.small_stream import sources, stream, write_lines


def _plan(block_megabytes=8, lanes=2, seq_len=256, weights="1"):
    read = (None,) * len(weights.split(","))
    shuffle = Shuffle(0, 8, 4 * block_megabytes, block_megabytes * MEGABYTE)
    return StreamPlan(read, Mixture.parse(weights, len(read)), Admission(), shuffle, lanes, seq_len)


@pytest.mark.parametrize(
    ("megabytes", "wanted", "workers"),
    [(1500, 4, 4), (1500, 40, 8), (260, 4, 2), (200, 4, 1), (1500, 0, 0), (1500, 1, 1)],
)
def test_as_many_workers_as_fit(megabytes, wanted, workers):
    allowance = allow(_plan(), 8, wanted, megabytes, 0)
    assert allowance.workers == workers
    assert 1 < allowance.ready <= 128


def test_a_large_tokenizer_leaves_room_for_fewer_workers():
    assert allow(_plan(), 8, 8, 1500, 11 * MEGABYTE).workers == 7
    assert allow(_plan(), 8, 4, 500, 11 * MEGABYTE).workers == 2


def test_fewer_ready_pieces_before_an_error():
    plan = _plan(block_megabytes=1, lanes=4, seq_len=2**17)
    assert allow(plan, 8, 1, 600, 0).ready == 4
    assert allow(plan, 8, 1, 250, 0).ready == 1
    with pytest.raises(UserError, match=r"config\.data\.ram_mb is 100; reading this data takes"):
        allow(plan, 8, 1, 100, 0)


def test_a_source_that_is_never_read_takes_no_memory():
    assert allow(_plan(weights="1,0,0"), 8, 4, 260, 0).workers == 2
    with pytest.raises(UserError, match=r"lower config\.data\.shuffle_mb"):
        allow(_plan(weights="1,1,1"), 8, 4, 300, 0)


class _Worker(ShardGroup):
    """As a worker process that uses more than it may until little is ready."""

    limit, num_ready, pid, closed = 4, 3, 0, False

    @property
    def memory(self):
        return (5 + self.limit) * MEGABYTE

    def close(self):
        self.closed = True


def _with_worker(folder, megabytes):
    batches = stream(sources(folder))
    batches.start()
    (group,) = batches._pieces
    group.__class__ = _Worker
    batches._workers = [group]
    batches._allowance = Allowance(1, 4, megabytes)
    return batches, group


def test_over_the_budget_less_is_kept_ready(tmp_path):
    batches, worker = _with_worker(write_lines(tmp_path / "a"), 7)
    for _ in range(3):
        batches._check_memory()
        assert worker.limit == 2
    assert batches.metrics()["input_memory_mb"] == 7
    assert batches.metrics()["ready_batches"] == 3
    next(batches)


def test_a_budget_that_does_not_suffice_ends_training(tmp_path):
    batches, worker = _with_worker(write_lines(tmp_path / "a"), 5)
    for limit in (2, 1):
        batches._check_memory()
        next(batches)
        assert worker.limit == limit
    batches._check_memory()
    with pytest.raises(UserError, match=r"ram_mb is 5, but the input uses 6 MB in 1 workers"):
        next(batches)
    assert worker.closed
    batches._allowance = Allowance(0, 4, 5)
    next(batches)  # others begin anew
