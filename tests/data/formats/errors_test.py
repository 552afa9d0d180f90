"""Nothing that is wrong in a file is dropped in silence, and nothing is told twice."""

import errno
import io
import json
import os
import random

import pytest

from mmrec_jax.data.formats import byte_window, json_array_file
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.errors import UserError
from tests.data.formats.written import (
    FORMATS,
    PACKERS,
    in_order,
    numbered_texts,
    source_file,
    write_records,
)


def read(file, steps=(1, 2, 3)):
    """Texts and messages; the same whatever the step."""
    found = []
    for step in steps:
        refusals = Refusals("skip")
        parts = [numbered_texts(file, refusals, first, step) for first in range(step)]
        numbered = {number: texts for part in parts for number, texts in part.items()}
        texts = [text for number in sorted(numbered) for text in numbered[number]]
        found.append((texts, sorted(refusals.messages)))
    assert found[1:] == found[:-1]
    return found[0]


def messages_of(file, first, step=1):
    """What one reader is told."""
    refusals = Refusals("skip")
    numbered_texts(file, refusals, first, step)
    return refusals.messages


def first_error(file):
    with pytest.raises(UserError) as caught:
        numbered_texts(file, Refusals("stop"))
    return str(caught.value)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_a_record_above_the_limit_is_refused_with_its_place(tmp_path, name, suffix):
    texts = ["bir", "x" * 3000, "iki " * 5 + "dört", "y" * 5000, "üç"]
    records = [text if name == "a.txt" else json.dumps({"text": text}) for text in texts]
    joint = {"a.txt": "\n\n", "a.jsonl": "\n", "a.json": ", "}[name]
    data = joint.join(records)
    data = (f"[{data}]" if name == "a.json" else data).encode()
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(PACKERS[suffix](data))
    found, messages = read(source_file(path, 64, limit=1000))
    assert found == [texts[0], texts[2], texts[4]]
    ending = "is longer than 1,000 bytes (config.data.max_record_mb, or --max-record-mb)"
    offsets = [data.index(records[place].encode()) for place in (1, 3)]
    expected = [f"{path}: the record at byte {at} {ending}" for at in offsets]
    assert messages == sorted(expected)
    assert first_error(source_file(path, 64, limit=1000)) == expected[0]


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_a_file_that_was_cut_off_is_told_once(tmp_path, name, suffix):
    texts = [f"{n} {n * n * n}" * 9 for n in range(1500)]
    data = {
        "a.txt": "\n\n".join(texts),
        "a.jsonl": "\n".join(json.dumps({"text": text}) for text in texts),
        "a.json": json.dumps([{"text": text} for text in texts]),
    }[name].encode()
    packed = PACKERS[suffix](data)
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    found, messages = read(source_file(path, 150), steps=(1, 3))
    (message,) = messages
    assert message.startswith(f"{path}: this {suffix} file is damaged: ")
    assert "behind uncompressed byte" in message or not found
    assert found == texts[: len(found)]
    assert len(found) < len(texts)
    # Who continues behind the chunk that told is not told again; farther on it came since.
    (told,) = (chunk.number for chunk in source_file(path, 150).chunks() if chunk.errors)
    assert not messages_of(source_file(path, 150), told + 1)
    assert messages_of(source_file(path, 150), told + 2) == [message]
    assert messages_of(source_file(path, 150), told + 7, 3) == [message]


def test_a_file_that_was_cut_off_in_a_long_record_is_told_once(tmp_path):
    path = tmp_path / "a.txt.gz"
    packed = PACKERS[".gz"](f"bir\n\niki\n\n{random.Random(0).randbytes(20_000).hex()}".encode())
    path.write_bytes(packed[:-2000])
    found, messages = read(source_file(path, 150))
    assert found == ["bir", "iki"]
    assert len(messages) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="to root every file is readable")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("bir")
    path.chmod(0)
    expected = [], [f"{path}: cannot be read: Permission denied"]
    assert read(source_file(path, 100), steps=(1,)) == expected


@pytest.mark.parametrize(
    "name", ["a.txt", "a.jsonl", "a.json.gz", "a.parquet", "a.arrow", "a.array_record"]
)
def test_a_file_that_is_gone(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    file = source_file(path, 100)
    path.unlink()
    for first, step in ((0, 1), (0, 3), (2, 3), (40, 1)):
        (message,) = messages_of(file, first, step)
        assert message.startswith(f"{path}: cannot be read")
        assert "No such file" in message


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "texts.array_record"])
def test_damage_that_came_before_a_reader_continued_is_told(tmp_path, name):
    path = tmp_path / name
    FORMATS[name](path, [f"{number} kısa" for number in range(40)])
    file = source_file(path, 30)
    path.write_bytes(path.read_bytes()[:40])
    (message,) = messages_of(file, 0)
    assert messages_of(file, 5) == [message]
    assert [messages_of(file, first, 4) for first in range(4)] == [[message], [], [], []]


class _Failing(io.BytesIO):
    """A file whose disk fails at `place`."""

    place = 0

    def read1(self, size=-1, /):
        if self.tell() >= self.place:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read1(min(size, self.place - self.tell()))

    def fileno(self):
        return 0


@pytest.mark.parametrize("name", ["blocks.txt", "lines.jsonl", "dense.json"])
def test_each_reader_that_the_system_fails_is_told(tmp_path, monkeypatch, name):
    path = tmp_path / name
    FORMATS[name](path, [f"{number} " + "x" * (number * 37 % 90) for number in range(12)])
    data, file = path.read_bytes(), source_file(path, 100)
    whole = [numbered_texts(file, Refusals("stop"), first, 3) for first in range(3)]
    monkeypatch.setattr(byte_window, "open_bytes", lambda _: _Failing(data))
    monkeypatch.setattr(byte_window.os, "fstat", lambda _: path.stat())
    monkeypatch.setattr(byte_window, "_READ", 64)
    for _Failing.place in range(5, len(data), 41):
        for first in range(3):
            refusals = Refusals("skip")
            found = in_order(numbered_texts(file, refusals, first, 3))
            expected = in_order(whole[first])
            assert found == expected[: len(found)]
            assert len(refusals.messages) <= 1
            if found != expected:
                assert refusals.messages == [f"{path}: cannot be read: Input/output error"]


@pytest.mark.parametrize("name", ["blocks.txt", "lines.jsonl", "dense.json"])
def test_a_file_that_shrinks_is_told(tmp_path, name):
    path = tmp_path / name
    texts = [f"{number} " + "uzun " * 3000 for number in range(40)]
    FORMATS[name](path, texts)
    file, size = source_file(path, 9000), path.stat().st_size
    expected = [f"{path}: this file has become shorter than {size:,} bytes"]
    refusals = Refusals("skip")
    chunks = file.chunks()
    first = [each.text for each in next(chunks).documents(refusals)]
    os.truncate(path, size // 2)
    found = first + [each.text for chunk in chunks for each in chunk.documents(refusals)]
    assert found == texts[: len(found)]
    assert refusals.messages == expected
    for start, step in ((0, 1), (2, 3), (size // 9000, 1)):
        assert messages_of(file, start, step) == expected


def test_bad_lines_are_skipped_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [b'{"text": "bir"}', b"{", b'{"text": "\xff"}', b'{"a": 1}', b"[]", b'{"text": "iki"}']
    path.write_bytes(b"\n".join(lines))
    found, messages = read(source_file(path, 1 << 18))
    assert found == ["bir", "iki"]
    assert len(messages) == 4
    assert f"{path}: not UTF-8 at byte offset 28 (0xff); convert the file to UTF-8" in messages
    assert read(source_file(path, 8), steps=(1, 1))[0] == found


@pytest.mark.parametrize(
    ("data", "texts", "message"),
    [
        ('[{"text": "a"}, 5, "b", {"text": "c"}]', "ac", ", byte 14: here is a number"),
        ('[{"text": "a"} {"text": "c"}]', "ac", ", byte 14: bad JSON: here should be a comma"),
        ('[{"text": "a"}, {"text": nope}, {"text": "c"}]', "ac", ", byte 16: bad JSON: "),
        ('[{"text": "a"}, {"text": "c"},]', "ac", ", byte 29: bad JSON: here should be a comma"),
        ('[{"text": "a"}, {"text": "c"}', "ac", ": bad JSON: the array has no end"),
        ('[{"text": "a"}, {"text": "c', "a", ": bad JSON: the array has no end"),
        ('[{"text": "a"}, {"text": "c"}] x', "ac", ", byte 30: bad JSON: this stands behind"),
        ('[{"text": "a"}, ["text"], {"text": "c"}]', "ac", ", byte 16: this line is a list"),
        ('[{"text": "a"}, {"body": "c"}]', "a", ", byte 16: there is no field 'text'"),
        ('[{"text": "a"}, {"text": "b\nc"}]', "a", ", byte 16: bad JSON: Invalid control"),
        ("[]", "", None),
        (" [ ] \n", "", None),
    ],
)
def test_arrays_that_are_not_whole(tmp_path, data, texts, message):
    path = tmp_path / "a.json"
    path.write_text(data)
    found, messages = read(source_file(path, 5))
    assert "".join(found) == texts
    if message is None:
        assert not messages
    else:
        assert messages[0].startswith(f"{path}{message}")


@pytest.mark.parametrize("size", range(5, 12))
def test_a_long_record_of_an_array_is_passed_over(tmp_path, monkeypatch, size):
    monkeypatch.setattr(byte_window, "_READ", size)
    monkeypatch.setattr(json_array_file, "_BEGINNING", 1)
    path = tmp_path / "a.json"
    long = json.dumps({"text": '\\"]\n' * 300})
    path.write_text(f'[{{"text": "a"}}, {long}, {{"text": "b"}}]')
    ending = "is longer than 100 bytes (config.data.max_record_mb, or --max-record-mb)"
    message = f"{path}: the record at byte 16 {ending}"
    assert read(source_file(path, 90, limit=100)) == (["a", "b"], [message])
    path.write_text(f'[{{"text": "a"}}, {long[:-9]}')
    ending = f"{path}: bad JSON: the array has no end; is the file whole?"
    assert read(source_file(path, 90, limit=100)) == (["a"], [ending, message])


def test_array_record_damage(tmp_path):
    path = tmp_path / "a.array_record"
    texts = [os.urandom(400).hex() for _ in range(1000)]
    write_records(path, [text.encode() for text in texts])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    found, messages = read(source_file(path, 4000), steps=(1, 2))
    assert found == []
    assert messages == [f"{path}: this ArrayRecord file is damaged: it has no index"]
    path.write_bytes(whole[:200_000] + bytes([whole[200_000] ^ 1]) + whole[200_001:])
    found, messages = read(source_file(path, 4000), steps=(1, 2))
    assert 950 < len(found) < 1000
    assert set(found) < set(texts)
    (message,) = messages
    begin, end = (int(word) for word in message.split() if word.rstrip(")").isdecimal())
    assert texts[: begin - 1] + texts[end:] == found


def test_skipped_errors_are_counted_and_listed():
    refusals = Refusals("skip")
    for number in range(1200):
        refusals(UserError(f"error {number}"))
    lines = refusals.describe().split("\n")
    assert lines[0] == "skipped 1,200 records or files that could not be read:"
    assert lines[1] == "  error 0"
    assert lines[-1] == "  and 1,100 more"
