"""`mmrec eval` and `mmrec inspect` on untrained models of several families, in this process."""

import functools
import json

import jax
import pytest

from mmrec_jax.checkpoints import load as loading
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.cli import main
from mmrec_jax.config import Config, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN
from tests.families import small

_PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "lake.txt"
    path.write_text("köprü ve göl, deniz, yol\n" * 12, "utf-8")
    return path


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs a command on a run of this data and family; returns what it printed."""

    def call(command, *arguments, source="text", family="gru"):
        tokenizer, others = ByteTokenizer(), {}
        if source == "parity":
            fields = {"max_length": 16, "eval_lengths": (8, 16), "eval_sequences": 4}
            others["tokenizer"] = TokenizerConfig(kind="char")
            others["train"] = TrainConfig(steps=1, sample_tokens=0)
            tokenizer = CharTokenizer("01")
        else:
            fields, tokenizer.chat_template = {"train": str(tmp_path / "missing")}, PLAIN
        config = Config(data=DATA_KINDS[source](seq_len=32, **fields), **others)
        model, params = small(family, vocab_size=tokenizer.vocab_size)
        monkeypatch.setattr(Workdir, "read_config", lambda self: (config, tokenizer.vocab_size))
        monkeypatch.setattr(loading, "load", lambda *a, **k: (model, params, tokenizer))
        monkeypatch.setattr(loading, "choose_step", lambda *a: 40)
        monkeypatch.setattr("mmrec_jax.tokenizers.cache.load_tokenizer", lambda p: tokenizer)
        main([*command.split(), f"--workdir={tmp_path}/run", *map(str, arguments)])
        return capsys.readouterr().out

    return call


def _refused(call, capsys):
    with pytest.raises(SystemExit) as exit_:
        call()
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("family", ["mmrec", "attention"])
def test_loss_of_text(run, text, family):
    out = run("eval loss", f"--data={text}", family=family).splitlines()
    assert out[0] == f"1 documents, {len(text.read_bytes()) - 1} bytes"
    for line in out[1:]:
        assert f"tokens {len(text.read_bytes()):,}," in line
    carried, apart = (float(line.split("loss ")[1].split(",")[0]) for line in out[1:])
    assert carried != apart


def test_a_model_of_conversations_reads_plain_text_as_text(run, text, tmp_path):
    plain = run("eval loss", f"--data={text}", source="instructions")
    assert plain == run("eval loss", f"--data={text}")
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"prompt": "göl?", "completion": "evet"}) + "\n", "utf-8")
    out = run("eval loss", f"--data={talk}", source="instructions").splitlines()
    assert out[0].startswith("1 examples, 4 bytes of responses")
    assert out[1].startswith("responses: ")


def test_loss_of_a_task(run, capsys):
    out = run("eval loss", "--lengths=8,40", source="parity").splitlines()
    assert "tokens 192" in out  # of 4 sequences of each length
    assert [line.split()[0] for line in out if line.startswith("accuracy")] == [
        *("accuracy@8", "accuracy@40")
    ]
    assert "--data" in _refused(lambda: run("eval loss", "--data=x", source="parity"), capsys)
    assert "--data" in _refused(lambda: run("eval loss"), capsys)


def test_length_of_a_file_in_windows(run, text, tmp_path):
    options = ["--documents=file", "--max-length=100", "--batch-size=4", f"--out={tmp_path}/new/x"]
    out = run("eval length", f"--data={text}", *options)
    content = json.loads((tmp_path / "new" / "x" / "length.json").read_text("utf-8"))
    tokens = len(text.read_bytes()) + 1  # and the end
    assert f"4 documents or parts of them, {tokens} tokens" in out
    assert [(each["first"], each["last"]) for each in content["bins"]] == [
        *((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 100))
    ]
    assert sum(each["tokens"] for each in content["bins"]) == tokens
    assert content["beyond"]["tokens"] == sum(max(0, n - 32) for n in (100, 100, 100, tokens - 300))
    profit = content["beyond"]["profit"]
    assert f"{profit['mean']:+.4f} ±{profit['error']:.4f}" in out
    assert (tmp_path / "new" / "x" / "length.png").read_bytes().startswith(_PNG)
    assert not (tmp_path / "run").exists()


def test_length_of_a_task(run, tmp_path):
    out = run("eval length", "--max-length=40", "--sequences=3", source="parity")
    content = json.loads((tmp_path / "run" / "eval" / "length.json").read_text("utf-8"))
    assert [score["length"] for score in content["scores"]] == [16, 32]
    for score in content["scores"]:
        assert f"{score['accuracy']:.2%}" in out


def test_recall_asks_pairs_and_needles(run, text, tmp_path):
    sizes = ["--lengths=60,200,9999", "--samples=2", "--sequences=3", "--documents=file"]
    out = run("eval recall", f"--data={text}", *sizes, f"--out={tmp_path}/out")
    content = json.loads((tmp_path / "out" / "recall.json").read_text("utf-8"))
    state = small("gru")[0].initial_state(1)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert content["state_bytes"] == size
    assert f"{size:,} bytes" in out
    assert [score["pairs"] for score in content["mqar"]] == [1, 2, 4, 8, 16, 32, 64]
    assert content["mqar"][0]["accuracy"] == 1
    assert "9,999" in out
    assert [score["length"] for score in content["needle"]] == [60, 200]
    for score in content["needle"]:
        assert len(score["accuracy"]) == len(score["profit"]) == 11
    assert (tmp_path / "out" / "recall.png").read_bytes().startswith(_PNG)


def test_inspect_writes_where_it_is_told(run, text, tmp_path, capsys):
    options = [f"--data={text}", "--tokens=32", f"--out={tmp_path}/out"]
    out = run("inspect", *options, family="mmrec").splitlines()
    assert out[0] == f"step 40, {text}: 32 tokens in 1 rows of up to 32"
    assert out[-2:] == [f"{tmp_path}/out/step_40.{kind}" for kind in ("png", "json")]
    assert (tmp_path / "out" / "step_40.png").read_bytes().startswith(_PNG)
    assert "inspect" in _refused(lambda: run("inspect", *options), capsys)  # of a GRU


def test_a_folder_that_cannot_be_made_is_one_line(run, text, capsys):
    options = [f"--data={text}", f"--out={text}/out"]
    for command in ("inspect", "eval length", "eval recall"):
        call = functools.partial(run, command, *options, family="mmrec")
        assert f"--out: {text}/out" in _refused(call, capsys)
