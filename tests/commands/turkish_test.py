import json

import pytest

from mmrec_jax.cli import main
from mmrec_jax.turkish.scores import FORMULA
from tests.refused import mistake

_LINES = "Evlerde kaldık.\n\nÇok güzel bir gün.\n"


@pytest.fixture
def arguments(tmp_path):
    for name, text in (("p.txt", _LINES), ("r.txt", _LINES), ("short.txt", "Bir\n")):
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "long.txt").write_text("a" * 40_000, "utf-8")
    (tmp_path / "blank.txt").write_text("\n\n\n", "utf-8")
    (tmp_path / "latin.txt").write_bytes("bir\niki\nçok".encode("iso8859-9"))
    (tmp_path / "empty.txt").write_text("\n \n", "utf-8")

    def score(predictions, references):
        files = f"--predictions={tmp_path / predictions}", f"--references={tmp_path / references}"
        return ["turkish", "score", *files]

    return score


def test_metrics_and_formula_are_printed(arguments, capsys):
    main([*arguments("p.txt", "r.txt"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found.pop("formula"), found.pop("lines")) == (FORMULA, 3)
    assert len(found) == 5
    assert set(found.values()) == {1}
    main(arguments("p.txt", "r.txt"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:-1]] == [[name, "1.0000"] for name in found]
    assert FORMULA in lines[-1]


def test_a_model_that_writes_nothing_scores_0(arguments, capsys):
    main([*arguments("blank.txt", "r.txt"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["overall_turkish_score"], found["lines"]) == (0, 3)


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [
        ("missing.txt", "r.txt", ["missing.txt"]),
        ("p.txt", "short.txt", ["p.txt has 3 lines", "short.txt"]),
        ("latin.txt", "r.txt", ["latin.txt", "8 (0xe7)"]),
        ("empty.txt", "r.txt", ["empty.txt has 2 lines"]),
        ("empty.txt", "empty.txt", ["empty.txt: this file has no text"]),
        ("long.txt", "short.txt", ["long.txt", "text 1 has 40,000 characters"]),
    ],
)
def test_a_mistake_is_one_line(arguments, predictions, references, expected, capsys):
    said = mistake(capsys, *arguments(predictions, references))
    assert all(part in said for part in expected)
