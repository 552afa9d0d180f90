"""Which files a pattern names."""

import os
from pathlib import Path

import pytest

from mmrec_jax.data.files.paths import find_files, require_outside, split_pattern
from mmrec_jax.data.files.reading import find_sources
from tests.small_data import refused
from tests.small_files import texts, write

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
