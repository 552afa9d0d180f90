"""Every kind of file: what is read from it, and that nothing is dropped unsaid."""

import csv
import gzip

import pyarrow
import pyarrow.parquet
import pytest

from mmrec_jax.data.files.compression import zstd
from mmrec_jax.data.files.reading import Reading, find_sources, read_documents
from mmrec_jax.data.files.refusals import Refusals
from tests.small_data import refused
from tests.small_files import FILES, PACKED, PACKERS, TEXTS, frames, table_bytes, texts, write


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
    parameters = {zstd.CompressionParameter.window_log: 30}
    compress = zstd.ZstdCompressor(options=parameters)
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
    (source,) = find_sources(str(path), "--data")
    assert [record["text"] for _, record in source.records(Reading())] == ["a"]


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
    ("a.csv", "id,text\r1,a\r2,b\r", "", [(":1", "CSV", "new-line")]),
    ("a.csv", "text,id,text\na,1,b", "", [(":1", "two fields", "'text'")]),
    ("a.csv", "id,body\n1,a", "", [(":2", "'text'", "body, id")]),
    ("a.parquet", table_bytes("parquet", {"text": [1, 2]}), "", [("row 1", "number"), ("row 2",)]),
    ("a.arrow", table_bytes("file", {"body": ["a"], "id": [1]}), "", [("text", "body, id")]),
    ("a.arrow", table_bytes("file", {"text": [b"a", b"\xff"]}), "a", [("row 2", "UTF-8")]),
    ("a.arrow", b"", "", [("a.arrow",)]),
    ("a.parquet", b"PAR1", "", [("a.parquet",)]),
    ("a.gz", gzip.compress(b"a\n\nb")[:-9], None, [(".gz", "damaged")]),
    ("a.zst", frames(b"a\n\nb")[:-5], None, [(".zst", "damaged")]),
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
    assert next(csv.reader([long])) == [long]  # other readers of the process have their own limit


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
