import math
import re
import sys

import jax
import numpy as np
import pytest

import mmrec_jax
import train
from mmrec_jax.cli import main
from tests.refused import mistake
from tests.small_run import CONFIG_FILE, session_text, trained


def test_generate_streams_text_and_prints_rate_and_state_size(capsys):
    arguments = ["--prompt=göl ", "--max-tokens=30", "--samples=2", "--ignore-end", "--seed=1"]
    main(["generate", f"--workdir={trained()}", *arguments])
    said = capsys.readouterr()
    first, second = said.out.split("\n---\n")
    assert first.startswith("göl ")
    assert second.startswith("göl ")
    assert 8 <= len(first) <= 34
    assert first != second.rstrip("\n")
    # 2 layers of h [32] and M [2, 16, 16] in float32, segment and position.
    size = 2 * (32 + 2 * 16 * 16) * 4 + 2 * 4
    assert re.fullmatch(
        rf"\[state {size:,} bytes per sample, whatever the length, [\d,]+ tokens/s\]\n",
        said.err,
    )


def _nats_by_hand(text):
    """Bits of one document read whole, from the loaded model alone."""
    model, params, tokenizer = mmrec_jax.load(trained())
    ids = np.array([tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id])
    logits = mmrec_jax.logits(model, params, ids[None, :-1])
    log_p = np.asarray(jax.nn.log_softmax(logits[0]), np.float64)
    return -sum(log_p[i, target] for i, target in enumerate(ids[1:]))


def test_evaluate_prints_the_bits_per_byte_of_the_definition(tmp_path, capsys):
    texts = ["göl kıyısında çiçek ve ağaç, köprü; iki göl bir yol", "İstanbul"]
    path = tmp_path / "other.txt"
    path.write_text("\n\n".join(texts), "utf-8")
    main(["eval", "loss", f"--workdir={trained()}", f"--data={path}"])
    first, carried, apart = capsys.readouterr().out.splitlines()
    assert first == f"2 documents, {sum(len(text.encode()) for text in texts)} bytes"
    nats = sum(_nats_by_hand(text) for text in texts)
    tokens = sum(len(text.encode()) + 1 for text in texts)
    assert carried == (
        f"state carried along each document: loss {nats / tokens:.4f}, "
        f"perplexity {math.exp(nats / tokens):,.4f}, tokens {tokens}, "
        f"bits_per_byte {nats / math.log(2) / (tokens - 2):.4f}, "
        f"bits_per_character {nats / math.log(2) / sum(map(len, texts)):.4f}"
    )
    assert apart.startswith("rows apart: loss ")
    assert apart.removeprefix("rows apart") not in carried


def test_inspect_prints_rows_with_their_segments(capsys):
    text = f"--config.data.train={session_text()}"
    main(["data", "inspect", f"--config={CONFIG_FILE}", "--rows=3", text])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("row ")] == [
        line for number in range(3) for line in lines if line.startswith(f"row {number}: ")
    ]
    segments = [line for line in lines if re.match(r"  \[\d+\] \d+ tokens: ", line)]
    assert len(segments) >= 3
    assert any(line.split(": ", 1)[1].startswith("<s>|") for line in segments)
    assert re.fullmatch(
        r"text, \d+ training documents, [\d,]+ bytes, [\d,]+ tokens \(0\.99 bytes/token, "
        r"258 in the vocabulary\); \d+ validation documents; rows [\d.]+% full",
        lines[-1],
    )


def test_inspect_prints_documents(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"body": "belge {n} çay"}}\n' for n in range(4)), "utf-8")
    main(["data", "inspect", f"--data={path}", "--field=body", "--rows=3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{path}:{n + 1}: 12 bytes: 'belge {n} çay'" for n in range(3)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["generate", "--workdir=nowhere"], "nowhere: there is no run here"),
        (["generate", "--workdir=nowhere", "--max-tokens=0"], "--max-tokens is 0"),
        (["generate", "--workdir=nowhere", "--samples=-1"], "--samples is -1"),
        (["generate", "--workdir=x", "--samples=2", "--save-state=x"], "--samples is 2; with"),
        (["generate", "--workdir=x", "--save-state=no/such/x"], "no/such/x: cannot write the"),
        (["generate", "--workdir=x", "--save-state=TEXT"], "is not a saved state; it is left"),
        (["generate", "--workdir=TRAINED", "--load-state=TEXT"], "this file is not a saved state"),
        (["generate", "--workdir=nowhere", "--chat"], "--chat needs a message to respond to"),
        (["generate", "--workdir=nowhere", "--system=x"], "it needs --chat"),
        (
            ["generate", "--workdir=x", "--chat", "--prompt=x", "--system=x", "--load-state=x"],
            "--system begins a conversation",
        ),
        (["generate", "--workdir=TRAINED", "--chat", "--prompt=x"], "has no chat template"),
        (["generate", "--workdir=nowhere", "--seed=-1"], "--seed is -1"),
        (["generate", "--workdir=nowhere", "--seed=4294967296"], "--seed is 4294967296"),
        (["generate", "--workdir=nowhere", "--temperature=inf"], "temperature is inf"),
        (["generate", "--workdir=nowhere", "--top-p=0"], "top_p is 0.0; it must be"),
        (["export", "--workdir=x", "--out=y", "--shard-gb=nan"], "--shard-gb is nan"),
        (["quantise", "x", "--out=y", "--shard-gb=-1"], "--shard-gb is -1.0"),
        (["eval", "loss", "--workdir=TRAINED", "--data=missing.txt"], "no file missing.txt"),
        (["eval", "loss", "--workdir=TRAINED", "--data=TEXT", "--step=7"], "no checkpoint 7"),
        (["data", "inspect", "--config=missing.py"], "missing.py: there is no such file"),
        (["data", "inspect", "--config=missing.py", "--rows=0"], "--rows is 0"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(arguments, expected, capsys):
    names = {"TRAINED": str(trained()), "TEXT": str(session_text())}
    for name, value in names.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    assert expected in mistake(capsys, *arguments)


@pytest.mark.parametrize("arguments", ["generate", "translate", "", "data", "eval", "train"])
def test_wrong_usage_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments.split())
    assert exit_.value.code == 2
    assert "usage: mmrec" in capsys.readouterr().err


def test_the_version_names_what_the_numbers_depend_on(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert re.fullmatch(r"mmrec_jax \S+, jax \S+, jaxlib \S+, flax \S+\n", capsys.readouterr().out)


def test_every_option_with_a_default_shows_it(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    defaults = {"--temperature": 0.8, "--max-tokens": 200, "--top-p": 0.95, "--step": "best"}
    for option, default in defaults.items():
        assert re.search(rf" {option} [^-].*?\(default: {default}\)", shown), option


@pytest.mark.parametrize(
    ("option", "said"), [("--help", "`mmrec config`"), ("--version", "jaxlib")]
)
def test_the_help_of_training(option, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", option])
    with pytest.raises(SystemExit) as exit_:
        train.main()
    assert exit_.value.code == 0
    assert said in capsys.readouterr().out
