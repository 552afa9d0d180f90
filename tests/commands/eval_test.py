"""`mmrec eval` and `mmrec inspect` on untrained models of several families, in this process."""

import json
import math
import sys

import jax
import matplotlib.image
import numpy as np
import pytest

from mmrec_jax.checkpoints import load as loading
from mmrec_jax.cli import main
from mmrec_jax.config import Config, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.evaluation.registry import EVALUATORS, Evaluation
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN
from mmrec_jax.train.writer import read_metrics
from tests.families import small
from tests.refused import mistake
from tests.small_run import trained


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
        saved = loading.SavedModel(
            tmp_path / "run", config, model.config, 40, tokenizer, lambda *_: params
        )
        monkeypatch.setattr(loading, "open_model", lambda *_: saved)
        main([*command.split(), f"--workdir={tmp_path}/run", *map(str, arguments)])
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(run, text, capsys):
    """The one line that a command is refused with."""

    def call(command, *arguments, **options):
        arguments = [argument.replace("TEXT", str(text)) for argument in arguments]
        with pytest.raises(SystemExit) as exit_:
            run(command, *arguments, **options)
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return call


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


def test_without_data_the_conversations_that_a_run_held_out_are_evaluated(run, tmp_path):
    (tmp_path / "missing").mkdir()
    talks = [{"prompt": f"göl {n}?", "completion": "evet"} for n in range(99)]
    lines = "\n".join(map(json.dumps, talks))
    (tmp_path / "missing" / "talks.jsonl").write_text(lines, "utf-8")
    out = run("eval loss", source="instructions").splitlines()
    assert out[0].startswith("1 examples, 4 bytes of responses")
    assert out[1].startswith("responses: ")


def test_a_task_at_given_and_at_doubling_lengths(run, tmp_path):
    out = run("eval loss", "--lengths=8,40", source="parity").splitlines()
    assert "tokens 192" in out  # of 4 sequences of each length
    scored = [line.split()[0] for line in out if line.startswith("accuracy")]
    assert scored == ["accuracy@8", "accuracy@40"]
    out = run("eval length", "--max-length=40", "--sequences=3", source="parity")
    content = json.loads((tmp_path / "run" / "eval" / "length.json").read_text("utf-8"))
    assert [score["length"] for score in content["scores"]] == [16, 32]
    for score in content["scores"]:
        assert f"{score['accuracy']:.2%}" in out


def test_length_of_a_file_in_windows(run, text, tmp_path):
    options = ["--documents=file", "--max-length=100", "--batch-size=4", f"--out={tmp_path}/new/x"]
    out = run("eval length", f"--data={text}", *options)
    content = json.loads((tmp_path / "new" / "x" / "length.json").read_text("utf-8"))
    tokens = len(text.read_bytes()) + 1  # and the end
    assert f"4 documents or parts of them, {tokens} tokens" in out
    borders = [(each["first"], each["last"]) for each in content["bins"]]
    assert borders == [(1, 32), (33, 100)]
    assert sum(each["tokens"] for each in content["bins"]) == tokens
    assert content["beyond"]["tokens"] == sum(max(0, n - 32) for n in (100, 100, 100, tokens - 300))
    gain = content["beyond"]["far_gain"]
    assert f"{gain['mean']:+.4f} ±{gain['error']:.4f}" in out
    assert not (tmp_path / "run").exists()


def test_recall_asks_pairs_and_needles(run, text, tmp_path):
    sizes = ["--lengths=64,200,9999", "--samples=2", "--sequences=3", "--documents=file"]
    out = run("eval recall", f"--data={text}", *sizes, f"--out={tmp_path}/out")
    content = json.loads((tmp_path / "out" / "recall.json").read_text("utf-8"))
    state = small("gru")[0].initial_state(1)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert content["state_bytes"] == size
    assert f"{size:,} bytes" in out
    assert [score["pairs"] for score in content["mqar"]] == [1, 2, 4, 8, 16, 32, 64]
    assert content["mqar"][0]["accuracy"] == 1
    # Without the tokens that begin and end the document.
    assert f"has {len(text.read_bytes())} tokens, too few for a needle 9,999" in out
    assert [score["distance"] for score in content["needle"]] == [64, 200]
    for score in content["needle"]:
        assert f"{score['gain']:+.3f} ±{score['error']:.3f}" in out


def test_an_evaluator_from_outside_is_reached_by_its_name_with_its_options(
    run, refused, text, tmp_path
):
    def letters(request, *, samples=3):
        store = request.data.validation
        metrics = {"letters": int(store.num_characters), "samples": samples, "ratio": math.nan}
        return Evaluation(metrics, record={"own": [metrics, math.inf, None, "ı"]})

    EVALUATORS.register("letters")(letters)
    out = run("eval letters", f"--data={text}", "--samples=5", "--documents=file").splitlines()
    assert out[:2] == [f"letters {len(text.read_text('utf-8'))}", "samples 5"]
    content = json.loads((tmp_path / "run" / "eval" / "letters.json").read_text("utf-8"))
    assert content["own"] == [{**content["own"][0], "ratio": None}, None, None, "ı"]
    said = refused("eval letters", "--data=TEXT", "--max-length=5")
    assert "--max-length is no option of the evaluator letters" in said
    assert "--samples" in said


def test_the_evaluators_of_a_run_are_reached_by_their_names(run, text):
    text.write_text("göl deniz ve yol kuş ağaç ışık dağ " * 3 + "\n", "utf-8")
    out = run("eval turkish", f"--data={text}", "--samples=1", family="gru")
    assert "overall_turkish_score" in out
    assert "gamma_half_life" in run("eval dashboard", f"--data={text}", family="mmrec")


@pytest.mark.parametrize(
    ("command", "arguments", "options", "named"),
    [
        ("eval nothing", ["--data=TEXT"], {}, "nothing"),
        ("eval loss", ["--data=x"], {"source": "parity"}, "--data"),
        ("eval loss", [], {"source": "instructions"}, "config.data.train"),
        ("eval loss", ["--data=TEXT", "--batch-size=0"], {}, "--batch-size is 0"),
        ("eval loss", ["--data=TEXT", "--lengths=8"], {}, "--lengths"),
        ("eval length", ["--data=TEXT", "--sequences=8"], {}, "--sequences"),
        ("eval length", ["--data=TEXT", "--out=TEXT/out"], {}, "--out: "),
        ("eval recall", ["--data=TEXT", "--out=TEXT/out"], {}, "--out: "),
        ("eval recall", ["--data=TEXT", "--lengths=8"], {}, "--lengths has 8"),
        ("eval recall", ["--data=TEXT", "--seed=-1"], {}, "--seed is -1"),
        ("eval dashboard", ["--data=TEXT"], {}, "dashboard"),  # of a GRU
        ("eval turkish", [], {"source": "parity"}, "turkish"),
        ("eval task", ["--data=TEXT"], {}, "no task"),
        ("eval task_length", ["--data=TEXT"], {}, "no task"),
        ("eval length", ["--max-length=7"], {"source": "parity"}, "--max-length is 7"),
        ("eval recall", [], {"source": "parity"}, "2 ordinary tokens"),
        ("eval loss", ["--lengths=5,x"], {"source": "parity"}, "--lengths is '5,x'"),
        ("eval loss", ["--lengths=5,0"], {"source": "parity"}, "config.data.eval_lengths is"),
        ("generate", [], {"source": "parity"}, "mmrec eval loss"),
        ("inspect", ["--data=TEXT", "--out=TEXT/out"], {}, "--out: "),
        ("inspect", ["--data=TEXT", "--tokens=0"], {}, "--tokens"),
        ("inspect", ["--data=missing.txt"], {}, "missing.txt"),
    ],
)
def test_a_mistake_is_one_line(refused, command, arguments, options, named):
    assert named in refused(command, *arguments, **options)


def test_tasks_need_the_package_of_the_harness(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "mmrec_jax.evaluation.harness", raising=False)
    line = mistake(capsys, "eval", "lm", "--workdir=runs/none")
    assert "pip install 'mmrec_jax[lm-eval]'" in line


def test_inspect_has_the_numbers_logged_in_training(tmp_path, capsys):
    main(["inspect", f"--workdir={trained()}", "--step=last", "--tokens=32", f"--out={tmp_path}"])
    summary = json.loads((tmp_path / "step_40.json").read_text("utf-8"))
    assert (summary["step"], summary["rows"], summary["length"]) == (40, 2, 32)
    (logged,) = (
        line
        for line in read_metrics(trained() / "metrics.jsonl")
        if (line["step"], line["split"]) == (40, "recurrence")
    )
    layers = summary["layers"]
    found = {
        "gamma_half_life": np.median([layer["gamma_half_life"] for layer in layers]),
        "gate_saturation": np.mean([layer["gate_low"] + layer["gate_high"] for layer in layers]),
        "effective_rank": np.mean([layer["effective_rank"] for layer in layers]),
        "state_variance": np.mean([layer["state_variance"] for layer in layers]),
    }
    for name, value in found.items():  # training steps through time, the command solves by Newton
        np.testing.assert_allclose(value, logged[name], rtol=1e-3, err_msg=name)
    out = capsys.readouterr().out
    assert out.startswith("step 40, the run's validation split (text): ")
    assert str(summary["tokens"]) in out
    assert matplotlib.image.imread(tmp_path / "step_40.png").ndim == 3
