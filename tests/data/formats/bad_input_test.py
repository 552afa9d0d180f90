"""Nothing that is wrong in a file is dropped in silence, and nothing is told twice."""

import errno
import io
import json
import os
import random

import pyarrow
import pyarrow.parquet
import pytest

from mmrec_jax.data.formats import byte_window
from mmrec_jax.data.formats.documents import text_documents
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.errors import UserError
from tests.data.formats.written import (
    PACKERS,
    in_order,
    numbered_texts,
    source_file,
    write,
    write_records,
)
from tests.small_data import refused


def read(file, steps=(1, 2, 3)):
    """Texts and messages; the same whatever the step."""
    found = []
    for step in steps:
        refusals = Refusals("skip")
        parts = [numbered_texts(file, refusals, first, step) for first in range(step)]
        texts = in_order({number: texts for part in parts for number, texts in part.items()})
        found.append((texts, sorted(refusals.messages)))
    assert found[1:] == found[:-1]
    return found[0]


def messages_of(file, first, step=1):
    """What one reader is told."""
    refusals = Refusals("skip")
    numbered_texts(file, refusals, first, step)
    return refusals.messages


def table_of(data):
    """A file of Parquet or Arrow."""
    written = io.BytesIO()
    table = pyarrow.table(data["columns"])
    if data["kind"] == "parquet":
        pyarrow.parquet.write_table(table, written)
    else:
        with pyarrow.ipc.new_file(written, table.schema) as file:
            file.write_table(table)
    return written.getvalue()


def _record(line):
    """A line behind a good one."""
    return '{"text": "a"}\n' + line + "\n"


_COLUMNS = {"text": ["a", None, "ş" * 600_000, "b"], "number": [1, 2, 3, 4]}
_TABLES = [
    (f"rows.{kind}", {"kind": kind, "columns": columns}, texts, named)
    for kind in ("parquet", "arrow")
    for columns, texts, named in (
        (_COLUMNS, "ab", [(", record 2", "text", "null"), (", record 3", "1,048,576")]),
        ({"text": [1, 2]}, "", [("text", "int64")]),
        ({"body": ["a"], "id": [1]}, "", [("text", "body, id")]),
    )
]
# A file, its bytes, the texts that are read in spite of it, and what each message names behind it.
_BAD = [
    ("a.jsonl", _record('{"text": "a"'), "a", [(":2", "column 13")]),
    ("a.jsonl", _record("[" * 100_000), "a", [(":2", "JSON")]),
    ("a.jsonl", _record('["text"]'), "a", [(":2", "list")]),
    ("a.jsonl", _record("12"), "a", [(":2", "number")]),
    ("a.jsonl", _record('{"body": "a", "id": 1}'), "a", [(":2", "'text'", "body, id")]),
    ("a.jsonl", _record("{}"), "a", [(":2", "'text'", "none")]),
    ("a.jsonl", _record('{"text": null}'), "a", [(":2", "'text'", "null")]),
    ("a.jsonl", _record('{"text": 3}'), "a", [(":2", "'text'", "number")]),
    ("a.jsonl", _record('{"text": "a\\ud800"}'), "a", [(":2", "'text'", "surrogate")]),
    ("a.jsonl.gz", '{"text": "a"}\n{"text": "ÿ"}'.encode("latin-1"), "a", [("offset 24", "0xff")]),
    (
        "a.jsonl",
        b'{"text": "a"}\n{\n{"text": "\xff"}\n{"a": 1}\n[]\n{"text": "b"}',
        "ab",
        [(":2",), (":4",), (":5",), ("offset 26", "0xff", "UTF-8")],
    ),
    ("a.txt", "çay\n\n".encode() + b"\xe7ay", "çay", [("offset 6", "0xe7", "UTF-8")]),
    ("a.json", '[{"text": "a"}, 5, "b", {"text": "c"}]', "ac", [(", byte 14", "number")]),
    ("a.json", '[{"text": "a"} {"text": "c"}]', "ac", [(", byte 14", "comma")]),
    ("a.json", '[{"text": "a"}, {"text": nope}, {"text": "c"}]', "ac", [(", byte 16", "JSON")]),
    ("a.json", '[{"text": "a"}, {"text": "c"},]', "ac", [(", byte 29", "comma")]),
    ("a.json", '[{"text": "a"}, {"text": "c"}', "ac", [("end",)]),
    ("a.json", '[{"text": "a"}, {"text": "c', "a", [("end",)]),
    ("a.json", '[{"text": "a"}, {"text": "c"}] x', "ac", [(", byte 30",)]),
    ("a.json", '[{"text": "a"}, ["text"], {"text": "c"}]', "ac", [(", byte 16", "list")]),
    ("a.json", '[{"text": "a"}, {"body": "c"}]', "a", [(", byte 16", "'text'")]),
    ("a.json", '[{"text": "a"}, {"text": "b\nc"}]', "a", [(", byte 16", "JSON")]),
    ("a.json", "[]", "", []),
    ("a.json", " [ ] \n", "", []),
    *_TABLES,
]


@pytest.mark.parametrize(("name", "data", "texts", "named"), _BAD)
def test_what_is_wrong_is_named_and_the_rest_is_read(tmp_path, name, data, texts, named):
    path = tmp_path / name
    data = data if isinstance(data, bytes) else table_of(data) if "kind" in data else data.encode()
    path.write_bytes(PACKERS[".gz"](data) if name.endswith(".gz") else data)
    for chunk_bytes in (5, 1 << 18):
        file = source_file(path, chunk_bytes)
        # Lines are counted by who reads the file from its start.
        found, messages = read(file, steps=(1,) if ".jsonl" in name else (1, 2, 3))
        assert "".join(found) == texts
        assert len(messages) >= len(named)
        for words in named:
            told = [each for each in messages if all(word in each for word in (str(path), *words))]
            assert len(told) == 1, messages
            assert "\n" not in told[0]
    if named:
        with refused(path):
            numbered_texts(file, Refusals("stop"))


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_a_record_above_the_limit_is_refused_with_its_offset(tmp_path, name, suffix):
    texts = ["bir", "x" * 3000, "iki " * 5 + "dört", "y" * 5000, "üç"]
    records = [text if name == "a.txt" else json.dumps({"text": text}) for text in texts]
    data = {"a.txt": "\n\n", "a.jsonl": "\n", "a.json": ", "}[name].join(records)
    data = (f"[{data}]" if name == "a.json" else data).encode()
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(PACKERS[suffix](data))
    found, messages = read(source_file(path, 64, limit=1000))
    assert found == [texts[0], texts[2], texts[4]]
    offsets = [data.index(records[number].encode()) for number in (1, 3)]
    assert len(messages) == 2
    for offset in offsets:
        assert any(f"{path}: the record at byte {offset} " in each for each in messages)
    if (name, suffix) == ("a.json", ""):
        path.write_bytes(data[:-2000])  # the end of a long record is missing too
        assert len(read(source_file(path, 64, limit=1000))[1]) == 3
    with refused(path, offsets[0], "1,000", "max_record_mb"):
        numbered_texts(source_file(path, 64, limit=1000), Refusals("stop"))


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    whole = PACKERS[suffix](b"".join(b"%d\n\n" % (n * n) for n in range(4000)))
    broken = {
        "end": whole[:-1],
        "cut": whole[: len(whole) // 2],
        "none": b"plain text",
        "bits": whole[:40] + bytes(byte ^ 255 for byte in whole[40:60]) + whole[60:],
    }
    for name, data in broken.items():
        path = tmp_path / f"{name}.txt{suffix}"
        path.write_bytes(data)
        for cut in ("block", "line", "file"):
            with refused(path, suffix, "damaged"):
                text_documents(path, cut)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_a_file_that_was_cut_off_is_told_once(tmp_path, name, suffix):
    texts = [f"{n} {n * n * n}" * 9 for n in range(700)]
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
        assert message.startswith(f"{path}: ")
        assert "No such file" in message


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "texts.array_record"])
def test_damage_that_came_before_a_reader_continued_is_told(tmp_path, name):
    path = tmp_path / name
    write(path, [f"{number} kısa" for number in range(40)])
    file, whole = source_file(path, 30), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (message,) = messages_of(file, 0)
    assert message.startswith(f"{path}: ")
    path.write_bytes(whole[:40])
    (message,) = messages_of(file, 0)
    assert message.startswith(f"{path}: ")
    assert messages_of(file, 5) == [message]
    assert [messages_of(file, first, 4) for first in range(4)] == [[message], [], [], []]


class _Failing(io.BytesIO):
    """A file whose disk fails at an offset."""

    offset = 0

    def read1(self, size=-1, /):
        if self.tell() >= self.offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read1(min(size, self.offset - self.tell()))

    def fileno(self):
        return 0


@pytest.mark.parametrize("name", ["blocks.txt", "lines.jsonl", "dense.json"])
def test_each_reader_that_the_system_fails_is_told(tmp_path, monkeypatch, name):
    path = tmp_path / name
    write(path, [f"{number} " + "x" * (number * 37 % 90) for number in range(12)])
    data, file = path.read_bytes(), source_file(path, 100)
    whole = [numbered_texts(file, Refusals("stop"), first, 3) for first in range(3)]
    monkeypatch.setattr(byte_window, "open_bytes", lambda _: _Failing(data))
    monkeypatch.setattr(byte_window.os, "fstat", lambda _: path.stat())
    monkeypatch.setattr(byte_window, "_READ", 64)
    for _Failing.offset in range(5, len(data), 41):
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
    write(path, texts)
    file, size = source_file(path, 9000), path.stat().st_size
    refusals = Refusals("skip")
    chunks = file.chunks()
    first = [each.text for each in next(chunks).documents(refusals)]
    os.truncate(path, size // 2)
    found = first + [each.text for chunk in chunks for each in chunk.documents(refusals)]
    assert found == texts[: len(found)]
    (message,) = refusals.messages
    assert message.startswith(f"{path}: ")
    assert f"{size:,}" in message
    for start, step in ((0, 1), (2, 3), (size // 9000, 1)):
        assert messages_of(file, start, step) == [message]


def test_array_record_damage(tmp_path):
    path = tmp_path / "a.array_record"
    texts = [os.urandom(400).hex() for _ in range(1000)]
    write_records(path, [text.encode() for text in texts])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    found, (message,) = read(source_file(path, 4000), steps=(1, 2))
    assert found == []
    assert message.startswith(f"{path}: ")
    path.write_bytes(whole[:200_000] + bytes([whole[200_000] ^ 1]) + whole[200_001:])
    found, (message,) = read(source_file(path, 4000), steps=(1, 2))
    assert 950 < len(found) < 1000
    begin, end = (int(word) for word in message.split() if word.rstrip(")").isdecimal())
    assert texts[: begin - 1] + texts[end:] == found


def test_skipped_errors_are_counted_and_the_first_are_listed():
    refusals = Refusals("skip")
    for number in range(1200):
        refusals(UserError(f"error {number}"))
    lines = refusals.describe().split("\n")
    assert "1,200" in lines[0]
    assert [line.strip() for line in lines[1:-1]] == [f"error {number}" for number in range(100)]
    assert "1,100" in lines[-1]
