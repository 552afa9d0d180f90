"""Which files the tokenizer's benchmark learns from and measures on."""

import gzip

import pytest

from benchmarks.tokenizer_extension import split
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.errors import UserError

_NAMES = ("training", "held_out")
_TEXT = "".join(f"satır {i}\n" for i in range(40))


def test_parts_are_those_of_this_run_under_plain_names(tmp_path):
    work = tmp_path / "work"
    (work / _NAMES[0]).mkdir(parents=True)
    (work / _NAMES[0] / "stale.txt").write_text("eski")
    (tmp_path / "a.txt").write_text(_TEXT, "utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(_TEXT.encode()))
    parts = split([tmp_path / "a.txt", tmp_path / "b.txt.gz"], work, _NAMES, 0.5)
    for part, pattern in zip(_NAMES, parts, strict=True):
        files = find_files(pattern, "--text")
        assert files == [work / part / "a.txt", work / part / "b.txt"]
        assert sorted((work / part).iterdir()) == files
        assert files[0].read_text("utf-8") == files[1].read_text("utf-8")
    both = [(work / part / "a.txt").read_text("utf-8").split("\n") for part in _NAMES]
    assert sorted(both[0] + both[1]) == sorted(_TEXT.split("\n")[:-1])


def test_equal_names_are_refused_before_anything_is_written(tmp_path):
    kept = tmp_path / "training" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("eski")
    for second in ("b/a.txt", "b/a.txt.gz"):
        with pytest.raises(UserError, match=r"a\.txt and .*a\.txt"):
            split([tmp_path / "a" / "a.txt", tmp_path / second], tmp_path, _NAMES, 0.5)
    assert kept.exists()
