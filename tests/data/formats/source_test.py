"""What files are found by a pattern, and which documents they hold."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmrec_jax.cli import main
from mmrec_jax.data.formats.documents import all_documents, json_objects, text_documents
from mmrec_jax.data.formats.paths import file_kind, find_files, is_json_lines, require_outside
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import find_sources
from mmrec_jax.data.sources import read_documents
from mmrec_jax.data.split import hash_share
from tests.data.formats.written import FORMATS, PACKERS, write_arrow
from tests.data.formats.written import write as write_format
from tests.small_data import data_config, refused


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
    for name in FORMATS:
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
    write_format(tmp_path / "rows.parquet", ["bir"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused("rows.parquet", "mmrec_jax[parquet]"):
        texts(tmp_path / "rows.parquet")
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


TEXTS = [f"belge {n}\n{n} söz" + ", söz" * n for n in range(200)]
_NAME = "belgeler/tr"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A directory of data sets with one that the command built."""
    root = tmp_path_factory.mktemp("tfds")
    source = root / "source"
    source.mkdir()
    (source / "a.txt").write_text("\n\n".join(TEXTS[:50]), "utf-8")
    (source / "b.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in TEXTS[50:]))
    command = ["data", "build-tfds", "--source", str(source), "--name", "belgeler"]
    main([*command, "--config", "tr", "--out", str(root), "--validation-fraction", "0.2"])
    return root


def test_a_data_set_is_built_and_read_back(root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    for split, held in (("train", False), ("validation", True)):
        found = [each.text for each in read_documents(f"tfds:{_NAME}:{split}")]
        assert found == [text for text in TEXTS if (hash_share(text) < 0.2) == held]
    assert not list((root / _NAME).glob(".*"))
    info = json.loads((root / _NAME / "1.0.0/dataset_info.json").read_text())
    assert (info["name"], info["configName"], info["version"]) == ("belgeler", "tr", "1.0.0")
    lengths = [int(length) for each in info["splits"] for length in each["shardLengths"]]
    assert sum(lengths) == len(TEXTS)
    monkeypatch.delenv("TFDS_DATA_DIR")  # a run names the directory
    versioned = f"tfds:{_NAME}/1.0.0:validation"
    options = {"validation": versioned, "tfds_dir": str(root)}
    config = data_config("text", f"tfds:{_NAME}:train", **options)
    documents = config.load("train") + config.load("validation")
    assert sorted(each.text for each in documents) == sorted(TEXTS)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        (_NAME, ("tfds:NAME",)),
        ("belgeler/en:train", ("belgeler/en",)),
        (f"{_NAME}:test", ("'test'", "train, validation")),
    ],
)
def test_wrong_names(root, monkeypatch, name, named):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    with refused("--data", *named):
        read_documents(f"tfds:{name}")


def test_broken_data_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "a.txt").write_text("\n\n".join(f"{n} " + "x" * 300_000 for n in range(8)))
    build = ["data", "build-tfds", "--source", f"{tmp_path}/a.txt", "--name", "d", "--shard-mb"]
    main([*build, "1", "--out", str(tmp_path)])
    folder = tmp_path / "d/1.0.0"
    shards = sorted(folder.glob("d-train.array_record-*"))
    assert len(shards) == 2
    assert len(read_documents("tfds:d:train")) == 8

    def wrong(*named, **options):
        with refused(*named):
            read_documents("tfds:d:train", **options)

    shards[1].write_bytes(shards[0].read_bytes()[:-1])
    wrong(shards[1].name)
    info = folder / "dataset_info.json"
    whole = info.read_text()
    info.write_text(whole.replace('"4"', '"5"'))
    wrong(shards[0].name, "4 records", "says 5")
    info.write_text(whole.replace("array_record", "tfrecord"))
    wrong("tfrecord", "array_record")
    info.write_text(whole)
    shards[1].unlink()
    wrong(shards[1].name)
    wrong("features.json", "'body'", "text", field="body")


def test_bad_options_of_the_command(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(" \n")
    base = ["data", "build-tfds", "--source", f"{tmp_path}/a.txt", "--out", str(tmp_path)]

    def refuses(named, *options):
        with pytest.raises(SystemExit):
            main([*base, *options])
        assert named in capsys.readouterr().err.splitlines()[-1]

    refuses("--name", "--name", "a/b")
    refuses("--shard-mb", "--name", "a", "--shard-mb", "0")
    refuses("--validation-fraction", "--name", "a", "--validation-fraction", "1")
    refuses("--source", "--name", "a")
    refuses("--out", "--name", "a", "--out", "/dev/null")
    refuses("--out", "--name", "a", "--source", str(tmp_path))
    assert [path.name for path in (tmp_path / "a").iterdir()] == []
    (tmp_path / "a.txt").write_text("bir")
    main([*base, "--name", "a"])
    refuses("a/1.0.0", "--name", "a")
