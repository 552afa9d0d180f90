"""A saved position in text continues bit for bit, and in no other text."""

import json

import pytest

from tests.small_data import assert_resumable, refused
from tests.small_text import text_dataset

_STAGES = ((1, (3, 1)), (9, (1, 3)), (20, (0, 1)))
KINDS = {
    "stored": {},
    "stored, carried": {"carry_state": True},
    "two stored, mixed": {"weights": _STAGES},
}


def open_kind(kind, **fields):
    return text_dataset(kind.split(",")[0], **{**KINDS[kind], **fields})


@pytest.mark.parametrize("kind", KINDS)
def test_text_continues_on_any_number_of_processes(kind):
    data = open_kind(kind)
    assert_resumable(
        lambda index, count: data.batches(8, process_index=index, process_count=count),
        steps=40,
        every=9,
        processes=(1, 2, 8) if kind == "stored" else (1, 4),
    )


_CHANGES = {
    "stored": {"data.seq_len": 8, "data.packing_windows": 5, "data.seed": 1, "data.shards": 2}
    | {"train.carry_state": True},
    "stored, carried": {"train.carry_state": False, "data.seed": 1},
    "two stored, mixed": {"data.weights": (1, 1)},
}


@pytest.mark.parametrize("kind", _CHANGES)
def test_a_position_belongs_to_its_data(kind):
    state = json.loads(json.dumps(open_kind(kind).batches(8).get_state()))
    for named, value in _CHANGES[kind].items():
        other = open_kind(kind, **{named.split(".")[1]: value}).batches(8)
        with refused("position", f"{named} (saved", "--fresh", "--config.init_from"):
            other.set_state(state)
    with refused("train.batch_size (saved 8, now 16)"):
        open_kind(kind).batches(16).set_state(state)
    with refused("data.train (saved"):
        text_dataset("less", **KINDS[kind] | {"weights": ()}).batches(8).set_state(state)
