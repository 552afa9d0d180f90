import gzip
import json
import re

import pytest
from mmrec_jax.data.files import find_files, is_json_lines, json_documents, text_documents

from mmrec_jax.errors import UserError


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def fails_with(pattern):
    return pytest.raises(UserError, match=pattern)


def test_find_files_takes_paths_globs_and_lists(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        write(tmp_path / name, "x")
    pattern = f"{tmp_path}/c.md, {tmp_path}/*.txt,{tmp_path}/a.txt"
    assert [path.name for path in find_files(pattern, "f")] == ["c.md", "a.txt", "b.txt"]


def test_find_files_takes_a_name_that_looks_like_a_glob(tmp_path):
    path = write(tmp_path / "a[1].txt", "x")
    assert find_files(str(path), "f") == [path]


def test_find_files_errors(tmp_path):
    with fails_with(r"config\.data\.train: there is no file .*nothing\.txt"):
        find_files(f"{tmp_path}/nothing.txt", "config.data.train")
    with fails_with(r"config\.data\.train: no file matches .*/\*\.txt"):
        find_files(f"{tmp_path}/*.txt", "config.data.train")
    with fails_with(r"is a folder; name its files, for example .*/\*"):
        find_files(f"{tmp_path}/", "config.data.train")
    with fails_with("must name at least one file"):
        find_files(" , ", "config.data.train")


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


def test_gz_and_byte_order_mark(tmp_path):
    path = write(tmp_path / "a.txt.gz", gzip.compress("\ufeffçay\n".encode()))
    assert text_documents(path, "line")[0].text == "çay"


def test_not_utf8_names_file_and_offset(tmp_path):
    path = write(tmp_path / "a.txt", "çay\n".encode() + b"\xe7ay")
    with fails_with(rf"{re.escape(str(path))}: not UTF-8 at byte offset 5 \(0xe7\)"):
        text_documents(path, "block")
    path = write(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "\xff"}'))
    with fails_with(r"a\.jsonl\.gz: not UTF-8 at uncompressed byte offset 10 \(0xff\)"):
        json_documents(path, "text")


def test_damaged_gz(tmp_path):
    whole = gzip.compress(bytes(range(256)) * 40)
    broken = {"cut": whole[:-20], "none": b"plain text", "bits": whole[:30] + b"\xff" * 60}
    for name, data in broken.items():
        with fails_with(rf"{name}\.gz: this \.gz file is damaged"):
            text_documents(write(tmp_path / f"{name}.gz", data), "block")


def test_unreadable_file(tmp_path):
    with fails_with("gone.txt: cannot be read: No such file"):
        text_documents(tmp_path / "gone.txt", "block")


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


def test_which_names_are_json_lines(tmp_path):
    yes = ("a.jsonl", "a.json", "A.JSONL.gz", "a.ndjson", "a.json.gz")
    no = ("a.txt", "a.gz", "a.jsonl.txt", "jsonl")
    assert all(is_json_lines(tmp_path / name) for name in yes)
    assert not any(is_json_lines(tmp_path / name) for name in no)
