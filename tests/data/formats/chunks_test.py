"""What every format must do: each document exactly once, however the chunks are dealt."""

import json
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmrec_jax.data.formats import byte_window, json_array_file
from mmrec_jax.data.formats.documents import text_documents
from mmrec_jax.data.formats.refusals import Refusals
from tests.data.formats.written import (
    FORMATS,
    PACKERS,
    in_order,
    numbered_texts,
    source_file,
    write,
    write_array,
)

_STOP = Refusals("stop")
TEXTS = [
    f"{n} köşe \u2028\x0c" + "ğ" * (n * 37 % 90) + ("\nikinci satır" if n % 3 else "")
    for n in range(30)
]
TEXTS[17] = "uzun\n" + "çok uzun, " * 100  # several chunks


@pytest.fixture(scope="module", autouse=True)
def small_reads():
    """As in a large file, what is in memory ends anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_window, "_READ", 97)
        patch.setattr(json_array_file, "_BEGINNING", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    for name in FORMATS:
        path = folder / name
        write(path, TEXTS)
        if name.endswith((".txt", ".jsonl", ".json")):
            for suffix, pack in PACKERS.items():
                (folder / f"{name}{suffix}").write_bytes(pack(path.read_bytes()))
    return folder


_NAMES = [
    *FORMATS,
    *(name + suffix for name in ("blocks.txt", "lines.jsonl") for suffix in (".gz", ".zst", ".xz")),
    "dense.json.xz",
]


@pytest.mark.parametrize("name", _NAMES)
def test_each_document_is_in_one_chunk(folder, name):
    for chunk_bytes in (61, 400, 1 << 18):
        file = source_file(folder / name, chunk_bytes)
        whole = numbered_texts(file, _STOP)
        assert in_order(whole) == TEXTS
        assert len(whole) > 5 or chunk_bytes == 1 << 18
        for step in (2, 3, 5):
            parts = [numbered_texts(file, _STOP, first, step) for first in range(step)]
            assert {number: found for part in parts for number, found in part.items()} == whole
        for first in (1, 4, 7):
            tail = {number: found for number, found in whole.items() if number >= first}
            assert numbered_texts(file, _STOP, first) == tail
        chunks = list(file.chunks())
        assert pickle.loads(pickle.dumps((file, chunks))) == (file, chunks)  # for workers
        assert all(0 < chunk.size < 10_000 for chunk in chunks) or chunk_bytes == 1 << 18


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "texts.array_record"])
def test_records_are_named_by_their_number(folder, name):
    path = folder / name
    expected = [f"{path}, record {number}" for number in range(1, len(TEXTS) + 1)]
    for step in (1, 2):
        chunks = [c for first in range(step) for c in source_file(path, 200).chunks(first, step)]
        chunks.sort(key=lambda chunk: chunk.number)
        found = [each.name for chunk in chunks for each in chunk.documents(_STOP)]
        assert found == expected


@pytest.mark.parametrize("name", ["blocks.txt", "lines.jsonl", "pretty.json"])
def test_records_behind_what_was_not_read_are_named_by_their_byte(folder, name):
    path = folder / name
    data = path.read_bytes()
    for chunk in source_file(path, 200).chunks(2, 3):
        for document in chunk.documents(_STOP):
            offset = int(document.name.removeprefix(f"{path}, byte "))
            if name == "blocks.txt":
                assert data.startswith(document.text.encode(), offset)
            else:
                record, _ = json.JSONDecoder().raw_decode(data[offset:].decode())
                assert record["text"] == document.text


_PARTS = st.sampled_from(
    ["a", "ş", "\n", "\n\n", "\r\n", "\r\n\r\n", " ", "\t", "\n \n", "uzunca", "\u2028", "x" * 20]
)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@settings(max_examples=25)
@given(st.lists(_PARTS, max_size=50), st.integers(3, 40), st.booleans())
@example(["a", "\n \n", " \r\n", "\r\n", "b"], 7, False)
@example(["\r\n", "a", "\n\n"], 7, True)
def test_any_text_in_any_chunks_is_that_of_one_chunk(
    tmp_path_factory, suffix, parts_of_text, chunk_bytes, mark
):
    path = tmp_path_factory.getbasetemp() / f"any.txt{suffix}"
    path.write_bytes(PACKERS[suffix](("\ufeff" * mark + "".join(parts_of_text)).encode()))
    for cut in ("block", "line", "file"):
        whole = [(each.name, each.text) for each in text_documents(path, cut)]
        file = source_file(path, chunk_bytes, cut)
        found = [d for chunk in file.chunks() for d in chunk.documents(_STOP)]
        assert [(each.name, each.text) for each in found] == whole
        parts = [numbered_texts(file, _STOP, first, 3) for first in range(3)]
        assert in_order({n: texts for part in parts for n, texts in part.items()}) == [
            text for _, text in whole
        ]


_TEXTS = st.lists(st.text(st.sampled_from('a"\\{}[],: \n\t/ş\u2028😀'), min_size=1), max_size=8)


@settings(max_examples=25)
@given(_TEXTS, st.integers(1, 60), st.booleans(), st.sampled_from([None, 0, 3]))
def test_any_array_is_that_of_the_json_module(tmp_path_factory, texts, size, ascii_only, indent):
    path = tmp_path_factory.getbasetemp() / "any.json"
    texts = [text for text in texts if text.strip()]
    write_array(path, texts, ensure_ascii=ascii_only, indent=indent)
    file = source_file(path, size)
    assert in_order(numbered_texts(file, _STOP)) == texts
    parts = [numbered_texts(file, _STOP, first, 2) for first in range(2)]
    assert in_order({n: found for part in parts for n, found in part.items()}) == texts
