import itertools
import json

import pytest

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.quality.document_filter import DocumentFilter
from mmrec_jax.data.stream.plan import Admission
from mmrec_jax.errors import UserError
from tests.small_stream import (
    BATCH,
    LENGTH,
    assert_each_document_once_an_epoch,
    assert_same,
    joined,
    shard_documents,
    sources,
    stream,
    take,
    union,
    write_lines,
)

_STEPS = 140  # two epochs and more


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("lines") / "a")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("lines") / "b", (12, 5), tag="other ")


@pytest.fixture(scope="module")
def whole(folder):
    """The batches of one process without workers, and the position before each and at the end."""
    batches = stream(sources(folder))
    states, read = [json.dumps(batches.get_state())], []
    for _ in range(_STEPS):
        read.append(next(batches))
        states.append(json.dumps(batches.get_state()))
    return read, states


def test_rows_are_the_files_each_document_once_an_epoch(folder, whole):
    read, _ = whole
    for batch in read:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in batch.values()} == {(BATCH, LENGTH)}
    assert_each_document_once_an_epoch(shard_documents(read), *sources(folder), epochs=2)


@pytest.mark.parametrize("batch", [1, 3, 12])
def test_shards_with_several_lanes_and_odd_batches(folder, batch):
    read = take(stream(sources(folder), batch=batch, length=50), 4000 // (50 * batch) * 2)
    shards = {1: 1, 3: 1, 12: 4}[batch]
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
        read = take(stream(sources(folder), batch=1, length=64, seed=seed, block=block), 120)
        (texts,) = shard_documents(read, 1)
        return tuple(texts[:48]), tuple(texts[48:96])

    (first, second), (third, _) = order(0, 3), order(1, 3)
    assert sorted(first) == sorted(second) == sorted(third)
    assert len({first, second, third}) == 3
    assert order(0, 3)[0] == first
    files = [text.split(".")[0] for text in order(0, 1)[0]]
    assert len([name for name, _ in itertools.groupby(files)]) == 3  # file after file
    assert len([name for name, _ in itertools.groupby(t.split(".")[0] for t in first)]) > 3


def test_files_come_in_another_order_each_epoch(tmp_path):
    folder = write_lines(tmp_path / "a", (2,) * 6)
    (texts,) = shard_documents(take(stream(sources(folder), batch=1, block=1), 120), 1)
    epochs = [tuple(text[0] for text in texts[start : start + 12]) for start in (0, 12, 24)]
    assert len(set(epochs)) == 3
    assert all(sorted(epoch) == sorted("012345" * 2) for epoch in epochs)
    assert all(epoch[::2] == epoch[1::2] for epoch in epochs)  # blocks of a chunk do not mix


def test_a_block_ends_after_so_much_text(folder):
    (whole,) = shard_documents(take(stream(sources(folder), batch=1, length=64), 60), 1)
    (parts,) = shard_documents(
        take(stream(sources(folder), batch=1, length=64, block=2, block_bytes=1), 60), 1
    )
    (single,) = shard_documents(take(stream(sources(folder), batch=1, length=64, block=1), 60), 1)
    assert parts == single != whole


@pytest.mark.parametrize("saved_by", [1, 2, 4])
@pytest.mark.parametrize("continued_by", [1, 2, 4])
def test_processes_come_and_go(folder, whole, saved_by, continued_by):
    read, _ = whole
    stop, steps = 37, 120
    before = [stream(sources(folder), process=(p, saved_by)) for p in range(saved_by)]
    parts = [take(each, stop) for each in before]
    position = union(*before)
    after = [stream(sources(folder), process=(p, continued_by)) for p in range(continued_by)]
    for each in after:
        each.set_state(position)
    together = joined(parts) + joined([take(each, steps - stop) for each in after])
    assert_same(together, read[:steps])
    assert_each_document_once_an_epoch(shard_documents(together), *sources(folder), epochs=1)


def test_a_position_without_the_shards_of_this_process_is_refused(folder):
    half = stream(sources(folder), process=(0, 2))
    with pytest.raises(UserError, match=r"lacks shards \[4, 5, 6, 7\]"):
        stream(sources(folder)).set_state(half.get_state())


def test_continued_anywhere_it_is_the_uninterrupted_stream(folder, whole):
    read, states = whole
    batches = stream(sources(folder))
    for stop in range(0, _STEPS - 3):
        batches.set_state(json.loads(states[stop]))
        assert_same(take(batches, 2), read[stop : stop + 2])
        assert json.dumps(batches.get_state()) == states[stop + 2]


def test_continued_across_a_change_of_weights(folder, other):
    mixed = sources(folder, other, pooled=False)
    weights = "1,3; 20: 1,0; 40: 2,1"
    batches = stream(mixed, weights=weights, batch=2)
    states, read = [], []
    for _ in range(60):
        states.append(json.dumps(batches.get_state()))
        read.append(next(batches))
    for stop in range(0, 58, 3):
        batches.set_state(json.loads(states[stop]))
        assert_same(take(batches, 2), read[stop : stop + 2])


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


def test_a_stage_counts_from_its_beginning(folder, other):
    batches = stream(sources(folder, other, pooled=False), weights="1,0; 101: 1,1", batch=2)
    take(batches, 130)
    for state in batches.get_state()["shards"].values():
        first, second = state["tokens"]
        assert abs(first - second) <= 300  # the longest document
        assert first + second <= 30 * LENGTH + 300


def test_epochs_of_each_source_are_counted(folder, other):
    batches = stream(sources(folder, other, pooled=False), weights="1,1")
    take(batches, 100)
    metrics = batches.metrics()
    assert 1 <= metrics[f"epochs of {folder}"] < metrics[f"epochs of {other}"]
    assert "epochs" in stream(sources(folder)).metrics()


def test_a_shard_without_a_document_goes_on_to_the_next_epoch(tmp_path):
    (tmp_path / "one.txt").write_text("tek satır\n", "utf-8")
    batches = stream(sources(tmp_path))
    documents = shard_documents(take(batches, 12))
    assert all(set(texts) == {"tek satır"} and len(texts) > 10 for texts in documents)
    first = [state["lanes"][0][0][1] for state in stream_states(tmp_path)]
    assert first == list(range(8))  # the epoch in which each shard meets it first


def stream_states(folder):
    batches = stream(sources(folder), length=1)
    next(batches)
    return batches.get_state()["shards"].values()


@pytest.mark.parametrize("admission", [Admission(), Admission(filter=DocumentFilter(99))])
def test_a_source_without_text_is_an_error_not_a_loop(tmp_path, admission):
    text = "\n \n" if admission == Admission() else "dropped\n"
    (tmp_path / "blank.txt").write_text(text, "utf-8")
    with pytest.raises(UserError, match="the corpus is empty: there is no text in all"):
        next(stream(sources(tmp_path), admission=admission))


def test_bad_records_stop_or_are_listed(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "iyi"}\n{"text": 5}\n', "utf-8")
    with pytest.raises(UserError, match="field 'text' is a number"):
        take(stream(sources(tmp_path)), 2)
    batches = stream(sources(tmp_path), on_error="skip")
    documents = shard_documents(take(batches, 4))
    assert set(itertools.chain.from_iterable(documents)) == {"iyi"}
    assert batches.metrics()["skipped_records"] >= 8
    lines = batches.warnings()
    assert all("bad.jsonl" in line and "is a number" in line for line in lines)
    assert not batches.warnings()


def test_a_changed_file_is_seen_when_a_lane_reads_on(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("uzun " * 30 + "\n", "utf-8")
    batches = stream(sources(tmp_path))
    next(batches)
    state = batches.get_state()
    path.write_text(" " * 151, "utf-8")
    batches.set_state(state)
    with pytest.raises(UserError, match="all: documents that training had read are not there"):
        take(batches, 1)
    for shard in state["shards"].values():
        shard["sources"] = [[0, 0, 0, 0]]
    batches.set_state(state)
    with pytest.raises(UserError, match=r"a\.txt: document 0 of chunk 0.*the file has changed"):
        take(batches, 1)
