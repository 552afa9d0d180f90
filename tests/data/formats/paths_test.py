from pathlib import Path

import pytest

from mmrec_jax.data.formats.paths import file_kind, find_files, is_json_lines, require_outside
from mmrec_jax.errors import UserError


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def fails_with(pattern):
    return pytest.raises(UserError, match=pattern)


def test_find_files_takes_paths_globs_and_lists(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        write(tmp_path / name)
    pattern = f"{tmp_path}/c.md, {tmp_path}/*.txt,{tmp_path}/a.txt"
    assert [path.name for path in find_files(pattern, "f")] == ["c.md", "a.txt", "b.txt"]


def test_find_files_takes_a_name_that_looks_like_a_glob(tmp_path):
    path = write(tmp_path / "a[1].txt")
    assert find_files(str(path), "f") == [path]


def test_a_folder_is_searched_for_files_of_known_kinds(tmp_path):
    wanted = ["a.txt", "b/c.jsonl.xz", "b/d/e.parquet", "f.array_record-00000-of-00002", "g.json"]
    others = [".h.txt", ".i/j.txt", "k.png", "l", "m/dataset_info.json", "m/features.json"]
    for name in wanted + others:
        write(tmp_path / name)
    found = find_files(f"{tmp_path}/", "f")
    assert [str(path.relative_to(tmp_path)) for path in found] == wanted


def test_find_files_errors(tmp_path):
    with fails_with(r"config\.data\.train: there is no file .*nothing\.txt"):
        find_files(f"{tmp_path}/nothing.txt", "config.data.train")
    with fails_with(r"config\.data\.train: no file matches .*/\*\.txt"):
        find_files(f"{tmp_path}/*.txt", "config.data.train")
    with fails_with(r"no file of a known kind \(\.txt.*\); name its files, for example .*/\*"):
        find_files(f"{tmp_path}/", "config.data.train")
    with fails_with("must name at least one file"):
        find_files(" , ", "config.data.train")


def test_a_folder_that_is_read_is_not_written_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "texts/a.txt")
    for out in ("texts", "texts/out", f"{tmp_path}/texts/../texts/b/c"):
        with fails_with(r"--out .* lies in the folder texts/ of --source"):
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
