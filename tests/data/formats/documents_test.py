import gzip
import json
import re

import pytest

from mmrec_jax.data.formats.documents import all_documents, json_objects, text_documents
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import find_sources
from mmrec_jax.errors import UserError
from tests.data.formats.written import PACKERS


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def json_documents(path, field):
    sources = find_sources(str(path), "--data", "line", field, 1 << 20, kind="json")
    return all_documents(sources, Refusals("stop"))


def fails_with(pattern):
    return pytest.raises(UserError, match=pattern)


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("file", [("", "\n\nbir\niki \n\n \t\n\n  üç\r\n\r\ndört\u2028\x0cbeş\n")]),
        ("line", [(":3", "bir"), (":4", "iki "), (":8", "  üç"), (":10", "dört\u2028\x0cbeş")]),
        ("block", [(":3", "bir\niki "), (":8", "  üç"), (":10", "dört\u2028\x0cbeş")]),
    ],
)
def test_text_cuts(tmp_path, cut, expected):
    path = write(tmp_path / "a.txt", "\n\nbir\niki \n\n \t\n\n  üç\r\n\r\ndört\u2028\x0cbeş\n")
    found = [(document.name, document.text) for document in text_documents(path, cut)]
    assert found == [(f"{path}{place}", text) for place, text in expected]


@pytest.mark.parametrize("cut", ["file", "line", "block"])
def test_blank_text_has_no_documents(tmp_path, cut):
    assert text_documents(write(tmp_path / "a.txt", " \n\n\t\n"), cut) == []
    assert text_documents(write(tmp_path / "b.txt", ""), cut) == []


def test_compression_and_byte_order_mark(tmp_path):
    for suffix, pack in PACKERS.items():
        path = write(tmp_path / f"a.txt{suffix}", pack("\ufeffçay\n".encode()))
        assert text_documents(path, "line")[0].text == "çay"


def test_not_utf8_names_file_and_offset(tmp_path):
    path = write(tmp_path / "a.txt", "çay\n".encode() + b"\xe7ay")
    with fails_with(rf"{re.escape(str(path))}: not UTF-8 at byte offset 5 \(0xe7\)"):
        text_documents(path, "block")
    path = write(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "\xff"}'))
    with fails_with(r"a\.jsonl\.gz: not UTF-8 at uncompressed byte offset 10 \(0xff\)"):
        json_documents(path, "text")


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
@pytest.mark.parametrize("cut", ["block", "line", "file"])
def test_damaged_file(tmp_path, suffix, cut):
    whole = PACKERS[suffix](b"".join(b"%d\n\n" % (n * n) for n in range(4000)))
    broken = {
        "end": whole[:-1],
        "cut": whole[: len(whole) // 2],
        "none": b"plain text",
        "bits": whole[:40] + bytes(byte ^ 255 for byte in whole[40:60]) + whole[60:],
    }
    for name, data in broken.items():
        path = write(tmp_path / f"{name}.txt{suffix}", data)
        with fails_with(rf"{name}\.txt\{suffix}: this \{suffix} file is damaged"):
            text_documents(path, cut)


def test_several_compressed_parts_are_one_text(tmp_path):
    for suffix in (".gz", ".zst", ".xz"):
        path = write(
            tmp_path / f"a.txt{suffix}", PACKERS[suffix](b"bir ") + PACKERS[suffix](b"iki")
        )
        assert text_documents(path, "block")[0].text == "bir iki"


def test_unreadable_file(tmp_path):
    with fails_with("gone.txt: cannot be read: No such file"):
        text_documents(tmp_path / "gone.txt", "block")


def test_json_objects_of_lines_and_arrays(tmp_path):
    write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"b": []}')
    write(tmp_path / "b.json", '\n[{"c": 2},\n {"d": {}}\n]\n')
    found = list(json_objects(str(tmp_path), "--data", Refusals("stop")))
    places = [place.removeprefix(str(tmp_path)) for place, _ in found]
    assert places == ["/a.jsonl:1", "/a.jsonl:3", "/b.json, byte 2", "/b.json, byte 13"]
    assert [record for _, record in found] == [{"a": 1}, {"b": []}, {"c": 2}, {"d": {}}]
    write(tmp_path / "c.array_record", b"")
    with fails_with("c.array_record: this is no file of JSON objects"):
        list(json_objects(f"{tmp_path}/c.array_record", "--data", Refusals("stop")))


def test_a_file_named_twice_is_read_once(tmp_path):
    path = write(tmp_path / "a.txt", "bir")
    sources = find_sources(f"{path}, {tmp_path}/*.txt", "--data", "line", "text", 99)
    assert len(sources) == 2
    assert len(all_documents(sources, Refusals("stop"))) == 1


def test_json_lines(tmp_path):
    lines = [json.dumps({"id": 1, "body": "a\nb"}), "", json.dumps({"body": "  "}), '{"body":"ş"}']
    path = write(tmp_path / "a.jsonl", "\r\n".join(lines))
    found = [(document.name, document.text) for document in json_documents(path, "body")]
    assert found == [(f"{path}:1", "a\nb"), (f"{path}:4", "ş")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', r":2: bad JSON: .* at column 13"),
        ("[" * 100_000, ":2: bad JSON"),
        ('["text"]', ":2: this line is a list, not a JSON object"),
        ("12", ":2: this line is a number, not a JSON object"),
        ('{"body": "a", "id": 1}', ":2: there is no field 'text'; the fields are: body, id "),
        ("{}", ":2: there is no field 'text'; the fields are: none"),
        ('{"text": null}', ":2: field 'text' is a null, not a string"),
        ('{"text": 3}', ":2: field 'text' is a number, not a string"),
        ('{"text": "a\\ud800"}', ":2: field 'text' holds half a surrogate pair"),
    ],
)
def test_json_errors_name_file_and_line(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n' + line + "\n")
    with fails_with(re.escape(str(path)) + message) as caught:
        json_documents(path, "text")
    assert "\n" not in str(caught.value)
