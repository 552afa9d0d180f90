import json

import pytest

from mmrec_jax.cli import main
from mmrec_jax.turkish.scores import FORMULA

_LINES = "Evlerde kaldık.\n\nÇok güzel bir gün.\n"


@pytest.fixture
def files(tmp_path):
    for name, text in (("p.txt", _LINES), ("r.txt", _LINES), ("short.txt", "Bir\n")):
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "latin.txt").write_bytes("bir\niki\nçok".encode("iso8859-9"))
    (tmp_path / "empty.txt").write_text("\n \n", "utf-8")
    return tmp_path


def _score(files, predictions, references, *more):
    arguments = [f"--predictions={files / predictions}", f"--references={files / references}"]
    main(["turkish", "score", *arguments, *more])


def test_metrics_and_formula_are_printed(files, capsys):
    pytest.importorskip("sacrebleu", reason="chrF++ needs sacrebleu")
    _score(files, "p.txt", "r.txt")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["turkish_char_accuracy", "1.0000"],
        ["morphology_preservation", "1.0000"],
        ["vowel_harmony_score", "1.0000"],
        ["chrf_plus_plus", "1.0000"],
        ["overall_turkish_score", "1.0000"],
    ]
    assert lines[-1] == f"{FORMULA}; 3 lines"
    _score(files, "p.txt", "r.txt", "--json")
    assert json.loads(capsys.readouterr().out)["overall_turkish_score"] == 1


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [
        ("missing.txt", "r.txt", "missing.txt: cannot be read: No such file"),
        ("p.txt", "short.txt", "p.txt has 3 lines and "),
        ("latin.txt", "r.txt", "latin.txt: not UTF-8 at byte offset 8 (0xe7)"),
        ("empty.txt", "r.txt", "empty.txt: this file has no text"),
    ],
)
def test_a_mistake_is_one_line(files, predictions, references, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        _score(files, predictions, references)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
