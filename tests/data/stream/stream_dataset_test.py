"""What a run is given by streamed files: what is held out, filtered, refused."""

import dataclasses
import itertools
from collections import Counter

import pytest

from mmrec_jax.data.split import hash_share
from mmrec_jax.data.stream import stream_text
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from tests.small_data import assert_same, config_of, refused, take
from tests.small_stream import shard_documents, write_lines


def opened(folder, train, **data):
    fields = {"stream_workers": 0, "seq_len": 32, "shuffle_mb": 1, "documents": "line", **data}
    return StreamDataset.open(config_of("stream", train, **fields), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("lines") / "a", (80, 1, 60))


def lines_of(folder):
    return [line for path in folder.iterdir() for line in path.read_text("utf-8").splitlines()]


def texts_of(dataset, count=300):
    read = take(dataset.batches(2), count)
    return {text for texts in shard_documents(read, 2) for text in texts}


def test_what_is_held_out_is_not_trained_on(folder, tmp_path):
    dataset = opened(tmp_path, folder, validation_fraction=0.2)
    held_out = {line for line in lines_of(folder) if hash_share(line) < 0.2}
    assert 10 < len(held_out) < 50
    assert dataset.validation.num_documents == len(held_out)
    assert dataset.validation.num_bytes == sum(len(line.encode()) for line in held_out)
    assert texts_of(dataset) == set(lines_of(folder)) - held_out
    assert dataset.longest(3, 16)["inputs"].shape == (3, 16)


def test_validation_files_are_held_whole_and_nothing_else_is_held_out(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "v.txt").write_text("bir\niki\n", "utf-8")
    dataset = opened(tmp_path, folder, validation=str(tmp_path / "v.txt"))
    assert dataset.validation.num_documents == 2
    assert texts_of(dataset) == set(lines_of(folder))
    monkeypatch.setattr(stream_text, "_VALIDATION_BYTES", 5)
    with refused("config.data.validation"):
        opened(tmp_path, folder, validation=str(tmp_path / "v.txt"))


def test_what_is_skipped_in_validation_files_is_told(folder, tmp_path, capsys):
    (tmp_path / "v.jsonl").write_text('{"text": "bir"}\n{"text": 5}\n', "utf-8")
    dataset = opened(tmp_path, folder, validation=str(tmp_path / "v.jsonl"), on_error="skip")
    assert dataset.validation.num_documents == 1
    assert "v.jsonl:2" in capsys.readouterr().err


def test_a_tokenizer_is_made_of_the_head_of_every_source_that_is_read(tmp_path):
    for name, character in (("a", "ş"), ("b", "ğ")):
        (tmp_path / name).mkdir()
        text = "\n".join(f"{character * 9} {number}" for number in range(40))
        (tmp_path / name / "a.txt").write_text(text, "utf-8")
    train, cache = f"{tmp_path}/a,{tmp_path}/b", tmp_path / "cache"
    data = {"validation_fraction": 0.3, "tokenizer__kind": "char"}
    assert opened(cache, train, weights="1,1", **data).tokenizer.encode("şğ 1").size == 4
    tokenizer = opened(cache, train, weights="1,0", **data).tokenizer
    with refused("ğ"):
        tokenizer.encode("ğ")


def test_lengths(folder, tmp_path):
    dataset = opened(tmp_path, folder)
    assert dataset.steps_for(4, tokens=1000) == 8  # of 4 x 32
    assert dataset.steps_for(4, tokens=1025) == 9
    with refused("config.train.epochs", "train.steps"):
        dataset.steps_for(4, epochs=2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": "absent.txt"}, "absent.txt"),
        ({"train": "blank.txt"}, "blank.txt"),
        ({"weights": "1,2"}, "config.data.train"),
        ({"validation_fraction": 1e-9}, "config.data.validation_fraction"),
        ({"validation": "absent"}, "config.data.validation"),
        ({"ram_mb": 1, "stream_workers": 1}, "config.data.ram_mb"),
    ],
)
def test_what_is_refused_before_anything_is_computed(folder, tmp_path, change, named):
    (tmp_path / "blank.txt").write_text(" \n\n", "utf-8")
    train = tmp_path / change["train"] if "train" in change else folder
    with refused(named):
        opened(tmp_path, **{**change, "train": train}).batches(8)


# Documents that are cleaned and filtered as they are read.

_FILTERS = {"clean": True, "language": "tr", "min_chars": 12, "max_chars": 40}
_TURKISH = "gölgede üşüyen küçük çocuk"
_LEFT_OUT = {
    "too_short": "çok kısa",
    "too_long": f"{_TURKISH}, {_TURKISH}",
    "language": "while the other children played",
    "empty": "\x01\x02",
}


def files(folder, reasons=tuple(_LEFT_OUT)):
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


def test_it_is_the_stream_of_the_documents_that_pass(tmp_path):
    given, passing = files(tmp_path)
    filtered = opened(tmp_path, given, validation_fraction=0.2, **_FILTERS)
    expected = opened(tmp_path, passing, validation_fraction=0.2)
    batches, others = filtered.batches(2), expected.batches(2)
    assert_same(take(batches, 30), take(others, 30))
    (a, b) = (each.validation for each in (filtered, expected))
    assert a.num_documents == b.num_documents > 5
    assert a.num_bytes == b.num_bytes
    counts = {name: count for name, count in batches.metrics().items() if "left_out" in name}
    of_file = Counter(itertools.islice(itertools.cycle(_LEFT_OUT), 30))
    files_read = counts["left_out_empty"] / of_file["empty"]
    assert files_read >= 2
    assert counts == {f"left_out_{reason}": n * files_read for reason, n in of_file.items()}
    assert not any("left_out" in name for name in others.metrics())
    config = dataclasses.replace(filtered.config, stream_workers=1)
    workers = dataclasses.replace(filtered, config=config).batches(2)
    take(workers, 30)
    told = workers.metrics()
    workers.close()
    assert {name: told[name] for name in counts} == counts


def test_a_copy_of_a_held_out_document_is_held_out_however_dirty(tmp_path):
    lines = [f"{number} {_TURKISH}" for number in range(40)]
    dirty = [f"\x07{line}" for line in lines]
    (tmp_path / "a.txt").write_text("\n".join(lines + dirty), "utf-8")
    dataset = opened(tmp_path, tmp_path / "a.txt", validation_fraction=0.2, clean=True)
    assert {text for text in lines if hash_share(text) >= 0.2} == texts_of(dataset, 60)


@pytest.mark.parametrize("validation", [False, True])
def test_filters_that_leave_nothing_are_named(tmp_path, validation):
    given, _ = files(tmp_path, ("language", "too_short"))
    data = {"train": given, "min_chars": 12, "max_chars": 20}
    if validation:
        (tmp_path / "v.txt").write_text("x" * 15, "utf-8")
        data |= {"train": tmp_path / "v.txt", "validation": str(given)}
    named = ("config.data.validation",) if validation else ("config.data.train", given)
    with refused(*named, "90 too_long", "30 too_short"):
        opened(tmp_path, **data)
