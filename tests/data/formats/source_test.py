"""What files are found by a pattern, and which documents they hold."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmrec_jax.data.formats.documents import all_documents, json_objects, text_documents
from mmrec_jax.data.formats.paths import file_kind, find_files, is_json_lines, require_outside
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import find_sources
from tests.data.formats.written import FORMATS, PACKERS, write_arrow
from tests.small_data import refused


def documents(pattern, cut="block", field="text", **options):
    sources = find_sources(str(pattern), "--data", cut, field, 1 << 20, **options)
    return all_documents(sources, Refusals("stop"))


def texts(pattern, **options):
    return [each.text for each in documents(pattern, **options)]


def write(path, data="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_find_files_takes_paths_globs_lists_and_names_that_look_like_globs(tmp_path):
    for name in ("b.txt", "a.txt", "c.md", "a[1].text"):
        write(tmp_path / name)
    pattern = f"{tmp_path}/c.md, {tmp_path}/*.txt,{tmp_path}/a.txt"
    assert [path.name for path in find_files(pattern, "f")] == ["c.md", "a.txt", "b.txt"]
    assert find_files(f"{tmp_path}/a[1].text", "f") == [tmp_path / "a[1].text"]


def test_a_folder_is_searched_for_files_of_known_kinds(tmp_path):
    wanted = ["a.txt", "b/c.jsonl.xz", "b/d/e.parquet", "f.array_record-00000-of-00002", "g.json"]
    others = [".h.txt", ".i/j.txt", "k.png", "l", "m/dataset_info.json", "m/features.json"]
    for name in wanted + others:
        write(tmp_path / name)
    found = find_files(f"{tmp_path}/", "f")
    assert [str(path.relative_to(tmp_path)) for path in found] == wanted


@pytest.mark.parametrize(
    ("pattern", "named"), [("nothing.txt", "nothing.txt"), ("*.txt", "*.txt"), ("", ".txt")]
)
def test_where_no_file_is_found_the_option_and_the_pattern_are_named(tmp_path, pattern, named):
    with refused("config.data.train", tmp_path, named):
        find_files(f"{tmp_path}/{pattern}", "config.data.train")
    with refused("config.data.train"):
        find_files(" , ", "config.data.train")


def test_a_folder_that_is_read_is_not_written_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "texts/a.txt")
    for out in ("texts", "texts/out", f"{tmp_path}/texts/../texts/b/c"):
        with refused("--out", "texts/", "--source"):
            require_outside(Path(out), "--out", "b.txt, texts/", "--source")
    for pattern in ("texts", "texts/a.txt", "texts/*", "tfds:texts:train"):
        require_outside(Path("texts2/out"), "--out", pattern, "--source")
        require_outside(Path("texts/.out"), "--out", pattern, "--source")
    require_outside(Path("texts/out"), "--out", "texts/*", "--source")


def test_what_names_say():
    kinds = {
        "json": ("a.jsonl", "a.json", "A.JSONL.gz", "a.ndjson", "a.json.zst", "a.json.XZ"),
        "text": ("a.txt", "a.gz", "a.jsonl.txt", "jsonl", "a.parquet.gz"),
        "parquet": ("a.parquet", "A.PARQUET"),
        "arrow": ("data-00000-of-00001.arrow",),
        "array_record": ("a.array_record", "a.arrayrecord", "a-b.array_record-00000-of-00010"),
    }
    for kind, names in kinds.items():
        assert {file_kind(Path(name)) for name in names} == {kind}
    assert is_json_lines(Path("a.JSONL.gz"))
    assert not is_json_lines(Path("a.json"))


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
    found = [(document.name, document.text) for document in text_documents(path, cut)]
    assert found == [(f"{path}{location}", text) for location, text in expected]
    for blank in (" \n\n\t\n", ""):
        assert text_documents(write(tmp_path / "b.txt", blank), cut) == []


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_byte_order_mark_is_no_text_and_compressed_parts_are_one_text(tmp_path, suffix):
    pack = PACKERS[suffix]
    path = write(tmp_path / f"a.txt{suffix}", pack("\ufeffçay ".encode()) + pack(b"iki"))
    assert texts(path) == ["çay iki"]


def test_json_lines_and_arrays(tmp_path):
    lines = ['{"a": 1, "body": "a\\nb"}', "", '{"body": "  "}', '{"body":"ş"}']
    path = write(tmp_path / "a.jsonl", "\r\n".join(lines))
    found = [(each.name, each.text) for each in documents(path, field="body")]
    assert found == [(f"{path}:1", "a\nb"), (f"{path}:4", "ş")]
    write(tmp_path / "b.json", '\n[{"c": 2},\n {"d": {}}\n]\n')
    found = dict(json_objects(str(tmp_path), "--data", Refusals("stop")))
    assert list(found) == [
        *(f"{path}:{number}" for number in (1, 3, 4)),
        *(f"{tmp_path}/b.json, byte {offset}" for offset in (2, 13)),
    ]
    assert list(found.values())[2:] == [{"body": "ş"}, {"c": 2}, {"d": {}}]
    write(tmp_path / "c.array_record", b"")
    with refused("c.array_record"):
        list(json_objects(f"{tmp_path}/c.array_record", "--data", Refusals("stop")))


def test_a_folder_with_every_format(tmp_path):
    for name, write_format in FORMATS.items():
        write_format(tmp_path / name, [f"{name} {n}" for n in range(3)])
    pattern = f"{tmp_path}, {tmp_path}/*.jsonl"
    sources = find_sources(pattern, "--data", "block", "text", 1 << 20)
    assert [source.name for source in sources] == [str(tmp_path), f"{tmp_path}/*.jsonl"]
    expected = [f"{name} {n}" for name in sorted(FORMATS) for n in range(3)]
    assert texts(tmp_path) == expected
    assert texts(pattern) == expected  # a file that is named twice is read once


def test_identity_is_of_names_and_sizes_alone(tmp_path):
    for folder in ("a", "b", "c"):
        write(tmp_path / folder / "x.txt", "bir" if folder != "c" else "dört")
    first, same, other = (
        find_sources(f"{tmp_path}/{folder}", "--data", "block", "text", 99)[0].identity
        for folder in ("a", "b", "c")
    )
    assert first == same != other


def test_kind_forces_files_of_text_and_json_alone(tmp_path):
    assert texts(write(tmp_path / "a.txt", '{"text": "bir"}'), kind="json") == ["bir"]
    array = '[{"text": "bir"}]'
    assert texts(write(tmp_path / "a.json", array), kind="text") == [array]
    write_arrow(tmp_path / "a.arrow", ["iki"])
    assert texts(f"{tmp_path}/a.arrow", kind="text") == ["iki"]


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    FORMATS["rows.parquet"](tmp_path / "a.parquet", ["bir"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused("a.parquet", "mmrec_jax[parquet]"):
        texts(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with refused("--data", "hf:a/b:train", "mmrec_jax[huggingface]"):
        texts("hf:a/b:train")


def saved(folder, values):
    """As `datasets.Dataset.save_to_disk` writes a folder."""
    folder.mkdir(parents=True)
    write_arrow(folder / "data-00000-of-00001.arrow", values)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_what_save_to_disk_wrote(tmp_path):
    saved(tmp_path / "one", ["bir", "iki"])
    for pattern in (f"{tmp_path}/one", f"hf:{tmp_path}/one", f"hf:{tmp_path}/one:train"):
        assert texts(pattern) == ["bir", "iki"]
    saved(tmp_path / "two/train", ["üç"])
    saved(tmp_path / "two/test", ["dört"])
    (tmp_path / "two/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert texts(f"hf:{tmp_path}/two:test") == ["dört"]
    with refused(f"hf:{tmp_path}/two", "train, test"):
        texts(f"hf:{tmp_path}/two")
    for name in ("words", "words:train[:10%]"):
        with refused(f"hf:{name}"):
            texts(f"hf:{name}")


@pytest.mark.parametrize("part", ["formats", "prepared"])
def test_what_workers_import_is_light(part):
    """Neither reading nor preparing starts a process with jax in it."""
    package = importlib.import_module(f"mmrec_jax.data.{part}").__path__[0]
    names = "*.py" if part == "formats" else "worker.py"
    code = (
        "import importlib, pathlib, sys\n"
        f"for path in pathlib.Path({package!r}).glob({names!r}):\n"
        f"    importlib.import_module(f'mmrec_jax.data.{part}.{{path.stem}}')\n"
        "heavy = {'jax', 'flax', 'grain', 'pyarrow', 'datasets', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
