"""Documents that are cleaned and filtered as they are read."""

import dataclasses
import itertools
from collections import Counter

import pytest

from mmrec_jax.config import Config, DataConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.errors import UserError
from tests.small_stream import assert_same, shard_documents, take

_FILTERS = {"clean": True, "language": "tr", "min_chars": 12, "max_chars": 40}
_TURKISH = "gölgede üşüyen küçük çocuk"
_LEFT_OUT = {
    "too_short": "çok kısa",
    "too_long": f"{_TURKISH}, {_TURKISH}",
    "language": "while the other children played",
    "empty": "\x01\x02",
}


def _files(folder, reasons=tuple(_LEFT_OUT)):
    """As they come, and what of them passes."""
    given, passing = folder / "given", folder / "passing"
    given.mkdir(parents=True)
    passing.mkdir()
    for file in ("a", "b"):
        good = [f"{file}{number} {_TURKISH}" for number in range(30)]
        bad = itertools.cycle(_LEFT_OUT[reason] for reason in reasons)
        lines = [each for pair in zip(good, bad, strict=False) for each in pair]
        dirty = [line.replace("küçük", "kü\x07çük") for line in lines]
        (given / f"{file}.txt").write_text("\n".join(dirty), "utf-8")
        (passing / f"{file}.txt").write_text("\n".join(good), "utf-8")
    return given, passing


def _config(train, **data):
    options = {"stream_workers": 0, "seq_len": 32, "validation_fraction": 0.2, "documents": "line"}
    return Config(
        data=DataConfig(source="stream", train=str(train), shuffle_mb=1, **options | data),
        tokenizer=TokenizerConfig(kind="byte"),
        train=TrainConfig(steps=1),
    )


def test_it_is_the_stream_of_the_documents_that_pass(tmp_path):
    given, passing = _files(tmp_path)
    filtered = StreamDataset.open(_config(given, **_FILTERS), tmp_path)
    expected = StreamDataset.open(_config(passing), tmp_path)
    batches, others = filtered.batches(2), expected.batches(2)
    read = take(batches, 30)
    assert_same(read, take(others, 30))
    (a, b) = (each.validation for each in (filtered, expected))
    assert a.num_documents == b.num_documents > 5
    assert a.num_bytes == b.num_bytes
    counts = {name: count for name, count in batches.metrics().items() if "left_out" in name}
    of_file = Counter(itertools.islice(itertools.cycle(_LEFT_OUT), 30))
    files_read = counts["left_out_empty"] / of_file["empty"]
    assert files_read >= 2
    assert counts == {f"left_out_{reason}": n * files_read for reason, n in of_file.items()}
    assert not any("left_out" in name for name in others.metrics())


def test_counts_come_from_workers_and_a_position_goes_on_in_the_same_documents(tmp_path):
    given, _ = _files(tmp_path)
    config = _config(given, validation=str(given), **_FILTERS)
    dataset = StreamDataset.open(config, tmp_path)
    assert dataset.validation.num_documents == 60
    alone = dataset.batches(2)
    before, after = take(alone, 9), take(alone, 9)
    workers = dataclasses.replace(
        dataset, config=dataclasses.replace(config.data, stream_workers=1)
    ).batches(2)
    try:
        assert_same(take(workers, 9), before)
        state = workers.get_state()
        assert workers.metrics()["left_out_language"] > 0
    finally:
        workers.close()
    again = dataset.batches(2)
    again.set_state(state)
    assert_same(take(again, 9), after)
    for name, value in {"clean": False, "language": "", "min_chars": 13, "max_chars": None}.items():
        other = _config(given, validation=str(given), **_FILTERS | {name: value})
        with pytest.raises(UserError, match=rf"belongs to other data: data\.{name} \(saved"):
            StreamDataset.open(other, tmp_path).batches(2).set_state(state)


def test_a_copy_of_a_held_out_document_is_held_out_however_dirty(tmp_path):
    lines = [f"{number} {_TURKISH}" for number in range(40)]
    dirty = [f"\x07{line}" for line in lines]
    (tmp_path / "a.txt").write_text("\n".join(lines + dirty), "utf-8")
    dataset = StreamDataset.open(_config(tmp_path / "a.txt", clean=True), tmp_path)
    (read,) = shard_documents(take(dataset.batches(1), 100), 1)
    assert {text for text in lines if hash_share(text) >= 0.2} == set(read)


@pytest.mark.parametrize("validation", [False, True])
def test_filters_that_leave_nothing_are_named(tmp_path, validation):
    given, _ = _files(tmp_path, ("language", "too_short"))
    filters = {"min_chars": 12, "max_chars": 20}
    config = _config(given, **filters)
    named = r"train: .*given"
    if validation:
        long = tmp_path / "v.txt"
        long.write_text("x" * 15, "utf-8")
        config = _config(long, validation=str(given), **filters)
        named = "validation"
    said = rf"config\.data\.{named}: no document is left to use; .*: 90 too_long, 30 too_short"
    with pytest.raises(UserError, match=said):
        StreamDataset.open(config, tmp_path)
