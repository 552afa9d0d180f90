"""A saved position continues bit for bit in whatever can be trained on, and in nothing else."""

import dataclasses
import functools
import json
import random

import pytest

from mmrec_jax.data.conversations.dataset import InstructionDataset
from mmrec_jax.data.document import Document
from mmrec_jax.data.lanes import LaneStream
from mmrec_jax.data.packed_stream import PackedStream
from mmrec_jax.data.prepared.prepared_dataset import open_prepared
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.tokenizers.conversation import Conversation, Message
from tests.data.conftest import TEXTS, store_of
from tests.small_corpus import prepare_small, write_corpus
from tests.small_data import (
    as_iterator,
    assert_resumable,
    assert_same,
    config_of,
    data_config,
    refused,
    take,
)
from tests.small_run import write_text
from tests.small_stream import sources, stream, write_lines

_TASK = {"max_length": 10, "eval_lengths": (5,), "tokenizer__kind": "char"}
_FILTERS = {"clean": True, "language": "", "min_chars": 4, "max_chars": 90}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of lines, a text and a prepared folder."""
    folder = tmp_path_factory.mktemp("resumable")
    write_lines(folder / "a")
    write_lines(folder / "b", (12, 5), tag="other ")
    write_text(folder / "words.txt")
    prepare_small(folder / "prepared", write_corpus(folder))
    return folder


# How the data of a run is opened: (folder, fields of the config) -> its `Dataset`.


def _text(folder, tag="", **fields):
    documents = [Document(str(number), tag + text) for number, text in enumerate(TEXTS)]
    splits = {"train": documents[:100], "validation": documents[100:]}
    config = config_of(**{"seq_len": 32, "packing_windows": 40, **fields})
    return TextDataset.from_documents(config, splits, folder / "unused")


def _instructions(folder, **fields):
    # A permutation of few windows is slow to draw.
    turns = [(Message("user", "a" * (n % 31)), Message("assistant", f"b{n}")) for n in range(200)]
    talks = [Conversation(f"f:{number}", each) for number, each in enumerate(turns)]
    fields = {"seq_len": 40, "packing_windows": 20, "overlong": "drop", **fields}
    splits = {"train": talks, "validation": talks[:2]}
    tokenizer = _text(folder).tokenizer
    config = data_config("treebank_instructions", **fields)
    return InstructionDataset.from_conversations(config, splits, tokenizer)


def _task(folder, source="parity", **fields):
    fields = {"seq_len": 20, "train__sample_tokens": 0, "train__batch_size": 4, **_TASK, **fields}
    return TaskDataset(config_of(source, **fields).data)


def _stream(folder, train="words.txt", **fields):
    fields = {"shuffle_mb": 1, "seq_len": 16, "stream_workers": 0, **_FILTERS, **fields}
    config = config_of("stream", folder / train, validation=str(folder / "words.txt"), **fields)
    return StreamDataset.open(config, folder / "cache")


def _prepared(folder, train="prepared", **fields):
    fields = {"seq_len": 16, "packing_windows": 40, **fields}
    return open_prepared(config_of("prepared", folder / train, **fields))


_DATASETS = {
    "text": _text,
    "text that is carried": functools.partial(_text, train__carry_state=True),
    "instructions": _instructions,
    "task": _task,
    "stream": _stream,
    "prepared": _prepared,
}


@pytest.mark.parametrize("kind", _DATASETS)
def test_the_data_of_a_run_continues(folders, kind):
    opened = _DATASETS[kind](folders)

    def batches(index, count):
        return opened.batches(4, process_index=index, process_count=count)

    assert_resumable(
        batches, steps=40, every=5, processes=(1, 2, 4)[:: 1 if kind == "stream" else 2]
    )
    assert_same(take(_DATASETS[kind](folders).batches(4), 2), take(batches(0, 1), 2))
    with refused("processes" if kind == "stream" else "train.batch_size", 4, 3):
        batches(0, 3)


# Long enough for two epochs and more, with stops inside documents and groups of rows.


@functools.cache
def _store():
    choose = random.Random(0)
    return store_of([choose.randint(1, 59) for _ in range(150)])


def _mixed_store():
    lengths = [11, 30, 7, 19] * 12 + [5, 64, 23] * 10
    return dataclasses.replace(store_of(lengths), sources=(("a", 48), ("b", 30)))


@pytest.mark.parametrize("batch_size", [1, 6])
def test_carried_rows_continue(batch_size):
    def make(index, count):
        size = batch_size // count
        rows = range(index * size, (index + 1) * size)
        return as_iterator(LaneStream(_store(), 37, batch_size, rows, seed=0))

    assert_resumable(make, steps=240 // batch_size, every=7, processes=(1, 3)[:batch_size])


def test_packed_mixtures_continue():
    store = _mixed_store()

    def make(index, count):
        rows = range(index * 4 // count, (index + 1) * 4 // count)
        weights = "3,1; 9: 1,3; 20: 0,1"
        return as_iterator(PackedStream(store, 16, 4, rows, group=20, seed=3, weights=weights))

    assert_resumable(make, steps=30, every=2, processes=(1, 2))


@pytest.mark.parametrize(
    ("options", "steps", "every", "processes"),
    [
        ({}, 140, 5, (1, 2, 8)),
        ({"batch": 12}, 30, 3, (1, 2)),  # three rows a shard
        ({"batch": 2, "weights": "1,3; 20: 1,0; 40: 2,1"}, 60, 3, (1, 2)),
        # Rows that are short beside the documents: most shards begin none in a batch.
        ({"length": 4, "weights": "1,3; 7: 1,0; 50: 2,1"}, 70, 3, ()),
    ],
)
def test_streams_of_files_continue(folders, options, steps, every, processes):
    names = ("a", "b") if "weights" in options else ("a",)
    read = sources(*(folders / name for name in names), pooled=len(names) == 1)

    def make(index, count):
        return as_iterator(stream(read, process=(index, count), **options))

    assert_resumable(make, steps=steps, every=every, processes=processes)


_CHANGES = {
    "text": {"data.seq_len": 16, "data.packing_windows": 5, "data.seed": 1}
    | {"train.carry_state": True, "tokens": {"tag": "!"}},
    "text that is carried": {"train.carry_state": False},
    "instructions": {"tokens": {"overlong": "truncate"}},
    "task": {"data.seed": 1, "task.max_length": 9},
    "stream": {"tokenizer": {"tokenizer__kind": "char"}, "data.train": {"train": "a"}}
    | {"data.seed": 1, "data.shuffle_mb": 2, "data.clean": False, "data.language": "tr"}
    | {"data.min_chars": 5, "data.max_chars": None},
    "prepared": {"tokens": {"train": "other"}},
}


@pytest.mark.parametrize("kind", _CHANGES)
def test_a_position_belongs_to_its_data(folders, kind):
    if kind == "prepared":
        prepare_small(folders / "other", str(folders / "web.jsonl.gz"))
    state = json.loads(json.dumps(_DATASETS[kind](folders).batches(4).get_state()))
    for named, change in _CHANGES[kind].items():
        if not isinstance(change, dict):
            change = {named.removeprefix("data.").removeprefix("task.").replace(".", "__"): change}
        other = _DATASETS[kind](folders, **change).batches(4)
        with refused("position", f"{named} (saved"):
            other.set_state(state)
    with refused("train.batch_size (saved 4, now 8)"):
        _DATASETS[kind](folders).batches(8).set_state(state)


def test_a_position_belongs_to_its_task(folders):
    state = _task(folders, "modular").batches(4).get_state()
    with refused("task.modulus (saved 3, now 5)"):
        _task(folders, "modular", modulus=5).batches(4).set_state(state)


def test_workers_and_memory_do_not_belong_to_a_position(folders):
    alone, other = _stream(folders).batches(4), _stream(folders, ram_mb=900).batches(4)
    other.set_state(alone.get_state())
    assert_same(take(other, 1), take(alone, 1))


def test_a_position_without_the_shards_of_this_process_is_refused(folders):
    read = sources(folders / "a")
    half = stream(read, process=(0, 2))
    with refused("shards", "4, 5, 6, 7"):
        stream(read).set_state(half.get_state())
