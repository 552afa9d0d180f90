"""Files that are no text, too large or damaged: one line each, in bounded memory."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from mmrec_jax.data.files.refusals import Refusals
from mmrec_jax.errors import UserError
from tests.small_data import refused
from tests.small_files import FILES, PACKERS, frames, texts, write, written
from tests.small_run import ROOT


def _archive(kind):
    written = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(written, "w") as file:
            file.writestr("a.txt", "metin")
    else:
        with tarfile.open(fileobj=written, mode=f"w:{kind}") as file:
            file.addfile(tarfile.TarInfo("a.txt"))
    return written.getvalue()


@pytest.mark.parametrize("name", ["a.txt", "a", "own name"])
@pytest.mark.parametrize(
    ("own", "data", "remedy"),
    [
        ("a.tar", _archive(""), "unpack"),
        ("a.tar.gz", _archive("gz"), "unpack"),
        ("a.tgz", _archive("gz"), "unpack"),
        ("a.tar.xz", _archive("xz"), "unpack"),
        ("a.zip", _archive("zip"), "unpack"),
        ("a.pdf", b"%PDF-1.4 ascii text", "PDF"),
        ("a.txt.lz4", b"\x04\x22\x4d\x18metin", "unpack"),
        ("a.parquet.gz", gzip.compress(FILES["rows.parquet"]), "unpack"),
        ("a.txt.gz", gzip.compress(gzip.compress(b"a")), "unpack"),
    ],
)
def test_what_is_no_text_is_refused_whatever_it_is_called(tmp_path, name, own, data, remedy):
    path = write(tmp_path / (own if name == "own name" else name), data)
    with refused(path, remedy):
        texts(path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow"])
def test_a_record_above_the_limit_is_refused_by_its_name(tmp_path, name):
    data = written(["bir", "x" * 300_000, "iki"])
    kinds = {Path(each).suffix: content for each, content in data.items() if each[0] in "bldr"}
    for suffix, pack in (
        PACKERS.items() if Path(name).suffix in (".txt", ".jsonl") else [("", bytes)]
    ):
        path, refusals = tmp_path / f"{name}{suffix}", Refusals("skip")
        content = data["dense.json"] if name == "a.json" else kinds[path.suffixes[0]]
        found = texts(write(path, pack(content)), refusals, limit=100_000)
        assert found == (["bir"] if name == "a.json" else ["bir", "iki"])
        assert len(refusals.messages) == 1
        assert "max_record_mb" in refusals.messages[0]
    assert len(texts(path, limit=1 << 20)) == 3


def _peak_of(paths, limit):
    """MiB that reading takes, in a process of its own; of each file its texts and refusals."""
    code = (
        "import json, pathlib, pyarrow.parquet\n"
        "from mmrec_jax.data.files.reading import Reading, read_documents\n"
        "def peak():\n"  # of this program alone; ru_maxrss is also that of who started it
        "    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    return int(status.partition('VmHWM:')[2].split()[0])\n"
        "before, found = peak(), []\n"
        f"for path in {[str(path) for path in paths]!r}:\n"
        "    said, count = [], 0\n"
        f"    reading = Reading(max_record_bytes={limit})\n"
        "    for each in read_documents(path, reading=reading, refuse=said.append): count += 1\n"
        "    found.append((count, len(said)))\n"
        "print(json.dumps([(peak() - before) >> 10, found]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(shown.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what memory peaks")
def test_what_a_small_file_becomes_is_bounded(tmp_path):
    """Sizes in headers, or the limit while it is decoded, bound memory; time is linear."""
    text = "x" * 2_000_000
    data = b'{"text": "' + text.encode() * 150 + b'"}\n{"text": "b"}'
    packers = {"a.jsonl.zst": frames, "b.jsonl.gz": gzip.compress, "c.jsonl": bytes}
    expected = {write(tmp_path / name, pack(data)): [1, 1] for name, pack in packers.items()}
    for name, shared in (("shared", True), ("plain", False)):
        table, path = pyarrow.table({"text": [text] * 200}), tmp_path / f"{name}.parquet"
        sharing = {"use_dictionary": shared, "dictionary_pagesize_limit": 1 << 30}
        pyarrow.parquet.write_table(table, path, compression="zstd", **sharing)
        expected[path] = [200, 0] if shared else [0, 1]
    peak, found = _peak_of(expected, 4 << 20)
    assert peak < 150
    assert found == [*expected.values()]


def _mutated(data, choose):
    """The bytes with some damage: flips, cuts, holes, repetitions, numbers, nesting, encodings."""
    strange = [b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b'""""', b"\\ud8", b"99999", b"null"]
    strange += [b"[" * 100_000, b'{"a":' * 3000, b"9" * 6000, b"\xef\xbb\xbf", b"\n", b"\r"]
    changed = bytearray(data)
    for _ in range(choose.choice([1, 1, 2, 5])):
        index, length = choose.randrange(len(changed) + 1), choose.randrange(200)
        match choose.randrange(5):
            case 0 if index < len(changed):
                changed[index] ^= 1 << choose.randrange(8)
            case 1:
                del changed[index : choose.choice([index + length, len(changed)])]
            case 2:
                changed[index:index] = choose.randbytes(choose.randrange(9))
            case 3:
                changed[index:index] = changed[index : index + length]
            case _:
                changed[index : index + choose.choice([0, 4])] = choose.choice(strange)
    if choose.random() < 0.05:
        text = bytes(changed).decode(errors="replace")
        return text.encode(choose.choice(["utf-16", "latin-1"]), "replace")
    return bytes(changed)


DAMAGED = {**FILES, **{f"a.jsonl{s}": pack(FILES["lines.jsonl"]) for s, pack in PACKERS.items()}}


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", DAMAGED)
def test_damage_gives_texts_or_one_line(tmp_path, name, count):
    path = tmp_path / name
    for number in range(count):
        path.write_bytes(_mutated(DAMAGED[name], random.Random(f"{name} {number}")))
        for on_error in ("stop", "skip"):
            said = ""
            try:
                assert all(text.encode().strip() for text in texts(path, Refusals(on_error)))
            except UserError as error:
                said = str(error)
            assert not said or (on_error == "stop" and str(path) in said), number
            assert "\n" not in said, number
