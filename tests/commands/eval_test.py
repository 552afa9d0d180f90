"""`mmrec eval length` and `mmrec eval recall` on a text run, from the command to the files."""

import json
import shutil
import sys

import pytest

from tests.small_run import execute, trained

_COMMANDS = """
import shutil, sys
from mmrec_jax.cli import main
root, data = sys.argv[1:]
file = [f"--data={data}", "--documents=file"]
main(["eval", "length", f"--workdir={root}"])
shutil.copyfile(f"{root}/eval/length.json", f"{root}/eval/validation.json")
print("====")
main(["eval", "length", f"--workdir={root}", *file, "--max-length=100", "--batch-size=4"])
print("====")
sizes = ["--lengths=60,200,9999", "--samples=2", "--sequences=3"]
main(["eval", "recall", f"--workdir={root}", *file, *sizes])
"""
_PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "lake.txt"
    path.write_text("köprü ve göl, deniz, yol\n" * 12, "utf-8")
    return path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, data):
    """A copy of the small run (rows of 32 bytes), and what each of three commands printed."""
    workdir = shutil.copytree(trained(), tmp_path_factory.mktemp("eval") / "run")
    result = execute([sys.executable, "-c", _COMMANDS, str(workdir), str(data)])
    assert result.returncode == 0, result.stderr
    return workdir, result.stdout.split("====\n")


def _record(evaluated, name):
    return json.loads((evaluated[0] / "eval" / f"{name}.json").read_text("utf-8"))


def test_length_of_the_validation_split_says_where_it_ends(evaluated):
    out, content = evaluated[1][0], _record(evaluated, "validation")
    assert out.startswith("the run's validation split (text): ")
    assert f"the longest has {content['longest']} tokens: nothing is said of more" in out
    assert content["beyond"] is not None


def test_length_of_a_file_in_pieces(evaluated, data):
    out, content = evaluated[1][1], _record(evaluated, "length")
    tokens = len(data.read_text("utf-8").encode()) + 1  # and the end
    assert f"{data}: 4 documents or pieces of them, {tokens} tokens" in out
    assert [(each["first"], each["last"]) for each in content["bins"]] == [
        *((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 100))
    ]
    assert sum(each["tokens"] for each in content["bins"]) == tokens
    assert content["beyond"]["tokens"] == sum(max(0, n - 32) for n in (100, 100, 100, tokens - 300))
    profit = content["beyond"]["profit"]
    assert f"{profit['mean']:+.4f} ±{profit['error']:.4f}" in out
    assert out.rstrip().endswith("eval: length.png, length.json")
    assert "too short" not in out
    assert "nothing is said of more" not in out
    assert (evaluated[0] / "eval" / "length.png").read_bytes().startswith(_PNG)


def test_recall_asks_pairs_and_needles(evaluated):
    out, content = evaluated[1][2], _record(evaluated, "recall")
    # 2 layers of h [32] and M [2, 16, 16] in float32, segment and position.
    size = 2 * (32 + 2 * 16 * 16) * 4 + 2 * 4
    assert f"state: {size:,} bytes" in out
    assert content["state_bytes"] == size
    assert [score["pairs"] for score in content["mqar"]] == [1, 2, 4, 8, 16, 32, 64]
    assert content["mqar"][0]["accuracy"] == 1
    for score in content["mqar"]:
        assert 0 <= score["accuracy"] <= 1
        assert f"{score['chance']:.2%}" in out
    assert "too few for texts of 9,999" in out
    assert [score["length"] for score in content["needle"]] == [60, 200]
    for score in content["needle"]:
        assert len(score["accuracy"]) == len(score["profit"]) == 11
    assert "needle: profit, nats/token" in out
    assert (evaluated[0] / "eval" / "recall.png").read_bytes().startswith(_PNG)
