"""Every kind of file: what is read from it, what is refused, and that nothing is dropped unsaid."""

import bz2
import csv
import gzip
import io
import json
import lzma
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
import zstandard

from mmrec_jax.data.files.paths import find_files, require_outside, split_pattern
from mmrec_jax.data.files.reading import Reading, find_sources, read_documents, read_records
from mmrec_jax.data.files.refusals import Refusals
from mmrec_jax.errors import UserError
from tests.small_data import refused
from tests.small_run import ROOT

TEXTS = [f"belge {n}\n{n} söz" + ", “söz”" * n for n in range(40)]


def _frames(data, **options):
    return zstandard.ZstdCompressor(write_checksum=True, **options).compress(data)


PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _frames,
}


def _csv(texts, delimiter):
    written = io.StringIO()
    rows = csv.writer(written, delimiter=delimiter)
    rows.writerows([["id", "text"], *enumerate(texts)])
    return written.getvalue().encode()


def table_bytes(kind, columns, rows=7):
    """A file of Parquet ("parquet"), or Arrow in one of its forms."""
    written, table = io.BytesIO(), pyarrow.table(columns)
    if kind == "parquet":
        pyarrow.parquet.write_table(table, written, row_group_size=rows)
        return written.getvalue()
    writer = pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file
    packed = pyarrow.ipc.IpcWriteOptions(compression="lz4" if kind == "feather" else None)
    with writer(written, table.schema, options=packed) as file:
        file.write_table(table, max_chunksize=rows)
    return written.getvalue()


def written(texts=TEXTS):
    """The texts in each kind of file."""
    objects = [{"id": 7, "text": text, "tags": ["]}"]} for text in texts]
    lines = [json.dumps(each, ensure_ascii=n % 2 > 0) for n, each in enumerate(objects)]
    columns = {"id": range(len(texts)), "text": texts, "tags": [["a"]] * len(texts)}
    return {
        "blocks.txt": "\r\n \t\n".join(texts).encode(),
        "lines.jsonl": "\n\n".join(lines).encode(),
        "lines.json": "\n".join(lines).encode(),
        "dense.json": json.dumps(objects).encode(),
        "pretty.json": b"\xef\xbb\xbf" + json.dumps(objects, indent=2).encode(),
        "objects.json": "\n".join(json.dumps(each, indent=1) for each in objects).encode(),
        "rows.csv": _csv(texts, ","),
        "semicolons.csv": _csv(texts, ";"),
        "rows.tsv": _csv(texts, "\t"),
        "rows.parquet": table_bytes("parquet", columns),
        "rows.arrow": table_bytes("stream", columns),
        "rows.ipc": table_bytes("file", columns),
        "rows.feather": table_bytes("feather", columns),
    }


FILES = written()
PACKED = [name for name in FILES if Path(name).suffix in (".txt", ".jsonl", ".json", ".csv")]


def write(path, data="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def texts(pattern, refuse=None, limit=1 << 20, **reading):
    found = read_documents(
        str(pattern),
        "--data",
        Reading(max_record_bytes=limit, **reading),
        refuse or Refusals("stop"),
    )
    return [document.text for document in found]


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_is_read_as_what_it_is(tmp_path, name):
    assert texts(write(tmp_path / name, FILES[name])) == TEXTS


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", PACKED)
def test_each_compression_is_undone_however_the_file_is_called(tmp_path, name, suffix):
    packed = PACKERS[suffix](FILES[name])
    assert texts(write(tmp_path / f"{name}{suffix}", packed)) == TEXTS
    assert texts(write(tmp_path / name, packed)) == TEXTS
    halves = [PACKERS[suffix](FILES[name][slice_]) for slice_ in (slice(99), slice(99, None))]
    assert texts(write(tmp_path / f"{name}{suffix}", b"".join(halves))) == TEXTS


def test_a_zstandard_frame_may_have_any_legal_window(tmp_path):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=30)
    compress = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compress.compress(FILES["lines.jsonl"]) + compress.flush()
    assert texts(write(tmp_path / "a.jsonl.zst", data)) == TEXTS


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("file", [("", "\n\nbir\niki \n\n \t\n\n  üç\r\n\r\ndört\u2028\x0cbeş\n")]),
        ("line", [(":3", "bir"), (":4", "iki "), (":8", "  üç"), (":10", "dört\u2028\x0cbeş")]),
        ("block", [(":3", "bir\niki "), (":8", "  üç"), (":10", "dört\u2028\x0cbeş")]),
    ],
)
def test_cuts_of_a_text(tmp_path, cut, expected):
    path = write(tmp_path / "a.txt", "\n\nbir\niki \n\n \t\n\n  üç\r\n\r\ndört\u2028\x0cbeş\n")
    found = read_documents(str(path), reading=Reading(cut))
    assert [(each.name, each.text) for each in found] == [(f"{path}{n}", t) for n, t in expected]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "json"])
def test_a_mark_at_the_start_of_any_document_or_line_is_not_text(tmp_path, kind):
    """Files with marks were joined: the mark is in the middle of the whole."""
    rows = {
        "txt": "\ufeffilk\n\n\ufeffiki\n\ufeffdevamı",
        "jsonl": '\ufeff{"text": "ilk"}\n\ufeff{"text": "\ufeffiki\\n\ufeffdevamı"}',
        "csv": '\ufefftext\nilk\n"\ufeffiki\n\ufeffdevamı"',
        "json": '\ufeff[{"text": "ilk"}, {"text": "\ufeffiki\\n\ufeffdevamı"}]',
    }
    assert texts(write(tmp_path / f"a.{kind}", rows[kind])) == ["ilk", "iki\ndevamı"]
    assert texts(write(tmp_path / "b.txt", "a\ufeffb")) == ["a\ufeffb"]


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e99999", "NaN"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_number_that_nobody_reads_harms_nobody(tmp_path, name, number):
    record = f'{{"id": {number}, "text": "a"}}'
    path = write(tmp_path / name, f"[{record}]" if name == "a.json" else record)
    assert texts(path) == ["a"]
    assert [record["text"] for _, record in read_records(str(path))] == ["a"]


STRINGS = [
    pyarrow.string(),
    pyarrow.large_string(),
    pyarrow.string_view(),
    pyarrow.binary(),
    pyarrow.large_binary(),
    pyarrow.binary_view(),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.large_binary()),
]


@pytest.mark.parametrize("kind", ["parquet", "file", "stream", "feather"])
@pytest.mark.parametrize("type_", STRINGS, ids=str)
def test_every_type_of_column_that_holds_text(tmp_path, kind, type_):
    values = ["çay", None, "b", "çay"]
    if pyarrow.types.is_dictionary(type_):
        column = pyarrow.array(values).cast(type_.value_type).dictionary_encode().cast(type_)
    else:
        column = pyarrow.array(values).cast(type_)
    nested = pyarrow.StructArray.from_arrays([column, pyarrow.array(range(4))], ["text", "id"])
    suffix = "parquet" if kind == "parquet" else "arrow"
    path = write(tmp_path / f"a.{suffix}", table_bytes(kind, {"text": column, "meta": nested}))
    assert texts(path) == texts(path, field="meta.text") == ["çay", "b", "çay"]


def test_a_field_inside_another_is_named_with_a_point(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"meta": {"b": {"c": "x"}}}\n{"meta.b.c": "y"}')
    assert texts(path, field="meta.b.c") == ["x", "y"]


def _record(line):
    """A line behind a good one."""
    return '{"text": "a"}\n' + line + "\n"


# A file, its bytes, the texts that are read in spite of it, and what each message names.
BAD = [
    ("a.jsonl", _record('{"text": "a"'), "a", [(":2", "column 13")]),
    ("a.jsonl", _record("[" * 200_000), "a", [(":2", "JSON")]),
    ("a.jsonl", _record('["text"]'), "a", [(":2", "list")]),
    ("a.jsonl", _record('{"body": "a", "id": 1}'), "a", [(":2", "'text'", "body, id")]),
    ("a.jsonl", _record('{"text": 3}'), "a", [(":2", "'text'", "number")]),
    ("a.jsonl", _record('{"text": "a\\ud800"}'), "a", [(":2", "'text'", "surrogate")]),
    ("a.jsonl", _record('{"text": null}'), "a", []),
    ("a.jsonl", b'{"text": "\xff"}\n{"a": 1}\n{"text": "b"}', "b", [(":1", "10", "0xff"), (":2",)]),
    ("a.txt", "çay\n\n".encode() + b"\xe7ay\n\nb", "çayb", [(":3", "offset 6", "0xe7", "UTF-8")]),
    ("a.txt", "a\n\nb".encode("utf-16"), "", [("UTF-16", "UTF-8")]),
    ("a.jsonl", '{"text": "şu"}'.encode("utf-16-le"), "", [("UTF-16", "UTF-8")]),
    ("a.json", '[{"text": "a"}, 5, "b", {"text": "c"}]', "ac", [("2", "number"), ("3", "string")]),
    ("a.json", '[{"text": "a"} {"text": "c"}]', "a", [("record 1", "comma")]),
    ("a.json", '[{"text": "a"}, {"text": nope}, {"text": "c"}]', "a", [("record 2", "JSON")]),
    ("a.json", '[{"text": "a"}, {"text": "c"},]', "ac", [("record 3", "JSON")]),
    ("a.json", '[{"text": "a"}, {"text": "c', "a", [("record 2",)]),
    ("a.json", '[{"text": "a"}', "a", [("end",)]),
    ("a.json", '[{"text": "a"}] x', "a", [("behind",)]),
    ("a.json", "[" * 200_000, "", [("record 1",)]),
    ("a.json", " [ ] \n", "", []),
    ("a.csv", "id,text\n1,a\n2,b,c\n3\n\n4,d", "ad", [(":3", "3 fields"), (":4", "1 fields")]),
    ("a.csv", 'id,text\n1,a\n2,"b\n3,c', "a", [("CSV",)]),
    ("a.csv", b"id,text\n1,\xff\n2,b", "b", [(":2", "0xff")]),
    ("a.csv", b'id,text\n1,"b\n\xff\nc"\n2,d\n3', "d", [(":3", "0xff"), (":6", "1 fields")]),
    ("a.csv", "id,text\r1,a\r2,b\r", "", [(":1", "carriage returns")]),
    ("a.csv", "text,id,text\na,1,b", "", [(":1", "two fields", "'text'")]),
    ("a.csv", "id,body\n1,a", "", [(":2", "'text'", "body, id")]),
    ("a.parquet", table_bytes("parquet", {"text": [1, 2]}), "", [("row 1", "number"), ("row 2",)]),
    ("a.arrow", table_bytes("file", {"body": ["a"], "id": [1]}), "", [("text", "body, id")]),
    ("a.arrow", table_bytes("file", {"text": [b"a", b"\xff"]}), "a", [("row 2", "UTF-8")]),
    ("a.arrow", b"", "", [("a.arrow",)]),
    ("a.parquet", b"PAR1", "", [("a.parquet",)]),
    ("a.gz", gzip.compress(b"a\n\nb")[:-9], None, [(".gz", "damaged")]),
    ("a.zst", _frames(b"a\n\nb")[:-5], None, [(".zst", "damaged")]),
]


@pytest.mark.parametrize(("name", "data", "expected", "named"), BAD)
def test_what_is_wrong_is_named_and_the_rest_is_read(tmp_path, name, data, expected, named):
    path, refusals = write(tmp_path / name, data), Refusals("skip")
    found = texts(path, refusals)
    assert expected is None or "".join(found) == expected
    assert len(refusals.messages) == len(named), refusals.messages
    for message, words in zip(refusals.messages, named, strict=True):
        assert "\n" not in message
        assert [word for word in (str(path), *words) if word not in message] == [], message
    if named:
        with refused(path, *named[0]):
            texts(path)


def test_a_row_with_a_line_that_is_too_long_is_left_out_and_lines_keep_their_numbers(tmp_path):
    long, refusals = "1" * 99, Refusals("skip")
    path = write(tmp_path / "a.csv", f'id,text\n{long}\n1,"b\n{long}\n"\n2,d\n3\n{long}')
    assert texts(path, refusals, limit=20) == ["d"]
    for message, line in zip(refusals.messages, (2, 4, 7, 8), strict=True):
        assert f"{path}:{line}: " in message


def test_what_is_skipped_is_counted_and_the_first_are_listed(tmp_path, capsys):
    refusals = Refusals("skip")
    assert texts(write(tmp_path / "a.jsonl", "no\n" * 1200), refusals) == []
    refusals.show()
    lines = capsys.readouterr().err.splitlines()
    assert "1,200" in lines[0]
    assert [line.partition("jsonl:")[2].partition(":")[0] for line in lines[1:-1]] == [
        str(number) for number in range(1, 101)
    ]
    assert "1,100" in lines[-1]


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


def _peak_of(path, limit):
    """MiB that reading takes, in a process of its own; its one refusal or the number of texts."""
    code = (
        "import pathlib, pyarrow.parquet\n"
        "from mmrec_jax.data.files.reading import Reading, read_documents\n"
        "def peak():\n"  # of this program alone; ru_maxrss is also that of who started it
        "    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    return int(status.partition('VmHWM:')[2].split()[0])\n"
        "before, said, count = peak(), [], 0\n"
        f"for each in read_documents({str(path)!r}, reading=Reading(max_record_bytes={limit}), "
        "refuse=said.append): count += 1\n"
        "print((peak() - before) >> 10, count, *said)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    peak, count, *said = shown.stdout.split(maxsplit=2)
    return int(peak), int(count), "".join(said)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what memory peaks")
@pytest.mark.parametrize("kind", ["zst", "gz", "shared.parquet", "plain.parquet", "line"])
def test_what_a_small_file_becomes_is_bounded(tmp_path, kind):
    """Sizes in headers, or the limit while it is decoded, bound memory; time is linear."""
    text, limit = "x" * 2_000_000, 4 << 20
    path = tmp_path / f"a.{'jsonl' if kind == 'line' else kind}"
    if kind.endswith("parquet"):
        table = pyarrow.table({"text": [text] * 200})
        sharing = {"use_dictionary": kind == "shared.parquet", "dictionary_pagesize_limit": 1 << 30}
        pyarrow.parquet.write_table(table, path, compression="zstd", **sharing)
    else:
        data = b'{"text": "' + text.encode() * 150 + b'"}\n{"text": "b"}'
        path = tmp_path / f"a.jsonl.{kind}" if kind != "line" else path
        path.write_bytes({"zst": _frames, "gz": gzip.compress, "line": bytes}[kind](data))
    peak, count, said = _peak_of(path, limit)
    assert peak < 150
    assert (count, bool(said)) == {"shared.parquet": (200, False), "plain.parquet": (0, True)}.get(
        kind, (1, True)
    )


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


NAMES = ["a,b.txt", "c [v2]/d.txt", "e*.txt", " f .txt", "g,h/i, j.txt", "çığ şu.txt", "k?/[a].txt"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_exists_is_taken_literally(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for each in NAMES:
        write(tmp_path / each, each)
    write(tmp_path / "plain.txt", "düz")
    assert texts(name) == [name]
    assert texts(f"plain.txt,{name},plain.txt") == ["düz", name]
    assert split_pattern(f"plain.txt, *.txt ,{name}", "--data") == ["plain.txt", "*.txt", name]
    assert sorted(texts(".")) == sorted([*NAMES, "düz"])


def test_globs_and_folders_find_each_real_file_once(tmp_path):
    for name in ("b/a.txt", "b/c/d.jsonl.xz", "b/.h.txt", "b/.i/j.txt", "b/k.png", "o/p.txt"):
        write(tmp_path / name)
    write(tmp_path / "b/dataset_info.json", "{}")
    (tmp_path / "b/loop").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "b/c/loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b/other").symlink_to(tmp_path / "o", target_is_directory=True)
    (tmp_path / "b/same.txt").symlink_to(tmp_path / "b/a.txt")
    os.link(tmp_path / "b/a.txt", tmp_path / "b/twin.txt")

    def found(pattern):
        files = find_files(str(pattern), "--data")
        assert len({path.resolve() for path in files}) == len(files)
        return {path.resolve().relative_to(tmp_path).name for path in files}

    assert found(tmp_path / "b") == {"a.txt", "d.jsonl.xz", "p.txt"}
    assert found(f"{tmp_path}/b/**/*.txt") == {"a.txt", "p.txt"}
    assert found(f"{tmp_path}/b/*.txt, {tmp_path}/b/same.txt") == {"a.txt"}
    assert found(f"{tmp_path}/b/**") >= {"a.txt", "d.jsonl.xz", "p.txt", "k.png"}
    first, second = find_sources(f"{tmp_path}/b/a.txt,{tmp_path}/b", "--data")
    assert [len(source.files) for source in (first, second)] == [1, 2]


@pytest.mark.parametrize(
    "name", ["gone.txt", "*.text", "", "empty", " , ", "~nobody.here/a.txt", "x" * 5000, "a\0b"]
)
def test_where_no_file_is_found_the_option_and_the_pattern_are_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with refused("config.data.train", name.strip(" ")):
        find_sources(name or f"{tmp_path}/", "config.data.train")


def test_a_folder_that_is_read_is_not_written_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "texts/a.txt")
    for out in ("texts", "texts/out", f"{tmp_path}/texts/../texts/b/c"):
        with refused("--out", "texts/", "--source"):
            require_outside(Path(out), "--out", "b.txt, texts/", "--source")
    for pattern in ("texts", "texts/a.txt", "texts/*", "tfds:texts:train"):
        require_outside(Path("texts2/out"), "--out", pattern, "--source")
        require_outside(Path("texts/.out"), "--out", pattern, "--source")


@pytest.mark.parametrize(
    ("module", "pattern", "extra"),
    [
        ("pyarrow", "a.parquet", "files"),
        ("datasets", "hf:a:b", "files"),
        ("tensorflow_datasets", "tfds:a:b", "tfds"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, module, pattern, extra):
    write(tmp_path / "a.parquet", FILES["rows.parquet"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with refused(pattern, f"mmrec_jax[{extra}]"):
        texts(pattern)


def test_what_save_to_disk_wrote(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"text": ["bir", "iki"]})
    one.save_to_disk(tmp_path / "one")
    for pattern in (f"{tmp_path}/one", f"hf:{tmp_path}/one"):
        assert texts(pattern) == ["bir", "iki"]
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(tmp_path / "two")
    assert texts(f"hf:{tmp_path}/two:test") == ["iki"]
    with refused(f"{tmp_path}/two", "train, test"):
        texts(f"hf:{tmp_path}/two")
    for name in ("words", "words:train[:10%]"):
        with refused(f"hf:{name}"):
            texts(f"hf:{name}")
    (tmp_path / "one/state.json").write_text("{")
    with refused(f"{tmp_path}/one"):
        texts(tmp_path / "one")


def test_a_split_of_tensorflow_datasets(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Belgeler(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # in a package it would be looked up with a package that may be missing

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
            )

        def _split_generators(self, manager):
            return {"train": ((number, {"text": text}) for number, text in enumerate(TEXTS))}

        def _generate_examples(self):
            raise NotImplementedError

    Belgeler(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("belgeler", None)  # as in another process
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert sorted(texts("tfds:belgeler:train")) == sorted(TEXTS)
    for name in ("belgeler:test", "belgeler", "other:train"):
        with refused("--data", f"tfds:{name}"):
            texts(f"tfds:{name}")
    before = find_sources("tfds:belgeler:train", "--data")[0].key
    os.utime(tmp_path / "belgeler/1.0.0", ns=(1, 1))
    assert find_sources("tfds:belgeler:train", "--data")[0].key != before
