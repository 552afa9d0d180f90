"""Which files the tokenizer's benchmark learns from and measures on."""

import gzip

from benchmarks.tokenizer_extension import split
from mmrec_jax.data.files.paths import find_files

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
