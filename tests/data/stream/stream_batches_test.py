"""What a stream reads, by what the files hold; that it continues is in `resumable_test.py`."""

import itertools

import pytest

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.quality.document_filter import DocumentFilter
from mmrec_jax.data.stream.layout import count_shards, hosted_shards
from mmrec_jax.data.stream.plan import Admission
from tests.small_data import assert_same, refused, take
from tests.small_stream import (
    BATCH,
    LENGTH,
    assert_each_document_once_an_epoch,
    shard_documents,
    sources,
    stream,
    write_lines,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("lines") / "a")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("lines") / "b", (12, 5), tag="other ")


def texts_of(folder, count, **options):
    """What a stream of one row reads."""
    (texts,) = shard_documents(take(stream(sources(folder), batch=1, **options), count), 1)
    return texts


def test_shards_divide_the_rows_and_processes_the_shards():
    assert [count_shards(batch) for batch in (1, 2, 4, 6, 8, 12, 64)] == [1, 2, 4, 2, 8, 4, 8]
    assert [list(hosted_shards(8, p, 4)) for p in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    with refused("multiple of 12"):
        hosted_shards(6, 0, 4)
    with refused("1, 2, 4 or 8", 3):
        hosted_shards(9, 0, 3)


def test_rows_are_the_files_each_document_once_an_epoch(folder):
    read = take(stream(sources(folder)), 140)
    for batch in read:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in batch.values()} == {(BATCH, LENGTH)}
    assert_each_document_once_an_epoch(shard_documents(read), *sources(folder), epochs=2)


@pytest.mark.parametrize(("batch", "shards"), [(1, 1), (3, 1), (12, 4)])
def test_shards_with_several_rows_and_odd_batches(folder, batch, shards):
    read = take(stream(sources(folder), batch=batch, length=50), 4000 // (50 * batch) * 2)
    documents = shard_documents(read, shards)
    everything = sorted(
        line for path in folder.iterdir() for line in path.read_text("utf-8").splitlines()
    )
    if shards == 1:
        (texts,) = documents
        assert len(texts) > len(everything)
        assert sorted(texts[: len(everything)]) == everything
    assert all(texts and set(texts) <= set(everything) for texts in documents)


def test_orders_differ_by_epoch_and_seed_and_blocks_mix(folder):
    def order(seed, block):
        texts = texts_of(folder, 120, length=64, seed=seed, block=block)
        return tuple(texts[:48]), tuple(texts[48:96])

    def runs(texts):
        return len(list(itertools.groupby(text.split(".")[0] for text in texts)))

    (first, second), (third, _) = order(0, 3), order(1, 3)
    assert sorted(first) == sorted(second) == sorted(third)
    assert len({first, second, third}) == 3
    assert order(0, 3)[0] == first
    assert runs(order(0, 1)[0]) == 3  # file after file
    assert runs(first) > 3


def test_files_come_in_another_order_each_epoch_and_blocks_end_after_so_much_text(tmp_path, folder):
    texts = texts_of(write_lines(tmp_path / "a", (2,) * 6), 120, block=1)
    epochs = [tuple(text[0] for text in texts[start : start + 12]) for start in (0, 12, 24)]
    assert len(set(epochs)) == 3
    assert all(sorted(epoch) == sorted("012345" * 2) for epoch in epochs)
    assert all(epoch[::2] == epoch[1::2] for epoch in epochs)  # blocks of a chunk do not mix
    parts = texts_of(folder, 60, length=64, block=2, block_bytes=1)
    assert parts == texts_of(folder, 60, length=64, block=1) != texts_of(folder, 60, length=64)


def test_weights_are_kept_to_one_document_in_each_shard(folder, other):
    mixed = sources(folder, other, pooled=False)
    read = take(stream(mixed, weights="3,1; 151: 0,1", batch=2), 200)
    for texts in shard_documents(read, 2):
        counts, longest = [0, 0], 0
        for text in texts:
            if sum(counts) > 140 * LENGTH:
                break
            length = len(text.encode()) + 1
            counts[text.startswith("other")] += length
            longest = max(longest, length)
            assert abs(counts[1] - sum(counts) / 4) <= longest
        assert all(text.startswith("other") for text in texts[-10:])


def test_epochs_of_each_source_are_counted(folder, other):
    batches = stream(sources(folder, other, pooled=False), weights="1,1")
    take(batches, 100)
    metrics = batches.metrics()
    assert 1 <= metrics[f"epochs of {folder}"] < metrics[f"epochs of {other}"]
    assert "epochs" in stream(sources(folder)).metrics()


def test_a_shard_without_a_document_goes_on_to_the_next_epoch(tmp_path):
    (tmp_path / "one.txt").write_text("tek satır\n", "utf-8")
    documents = shard_documents(take(stream(sources(tmp_path)), 12))
    assert all(set(texts) == {"tek satır"} and len(texts) > 10 for texts in documents)
    batches = stream(sources(tmp_path), length=1)
    next(batches)
    shards = batches.get_state()["shards"].values()
    # The epoch in which each shard meets it first.
    assert [state["lanes"][0][0][1] for state in shards] == list(range(8))


@pytest.mark.parametrize("admission", [Admission(), Admission(filter=DocumentFilter(99))])
def test_a_source_without_text_is_an_error_not_a_loop(tmp_path, admission):
    text = "\n \n" if admission == Admission() else "dropped\n"
    (tmp_path / "blank.txt").write_text(text, "utf-8")
    with refused("all"):
        next(stream(sources(tmp_path), admission=admission))


def test_bad_records_stop_or_are_listed(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "iyi"}\n{"text": 5}\n', "utf-8")
    with refused("bad.jsonl", "text"):
        take(stream(sources(tmp_path)), 2)
    batches = stream(sources(tmp_path), on_error="skip")
    documents = shard_documents(take(batches, 4))
    assert set(itertools.chain.from_iterable(documents)) == {"iyi"}
    assert batches.metrics()["skipped_records"] >= 8
    assert all("bad.jsonl" in line for line in batches.warnings())
    assert not batches.warnings()


def test_a_changed_file_is_seen_when_a_row_goes_on(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("uzun " * 30 + "\n", "utf-8")
    batches = stream(sources(tmp_path))
    next(batches)
    state = batches.get_state()
    path.write_text(" " * 151, "utf-8")
    batches.set_state(state)
    with refused("all"):
        take(batches, 1)
    for shard in state["shards"].values():
        shard["sources"] = [[0, 0, 0, 0]]
    batches.set_state(state)
    with refused("a.txt", "document 0 of chunk 0"):
        take(batches, 1)


def test_a_closed_stream_has_its_position_and_goes_on(folder):
    whole, batches = stream(sources(folder), length=4), stream(sources(folder), length=4)
    for _ in range(5):
        assert_same(take(batches, 5), take(whole, 5))
        batches.close()
        batches.close()
        assert batches.get_state() == whole.get_state()
