"""Which runs the quality benchmark does, and what it says of them."""

import argparse
import sys

import pytest

from benchmarks import comparison, quality
from benchmarks.quality import Quality
from benchmarks.run_log import RunLog
from mmrec_jax.errors import UserError
from tests.small_run import write_text

DATA = {
    f"{split}_{what}": 1000
    for split in ("train", "validation")
    for what in ("documents", "bytes", "tokens")
}


@pytest.fixture
def options(tmp_path):
    """Those of a call; training is replaced by a formula with its best rate at 0.003."""
    text = write_text(tmp_path / "words.txt")
    return argparse.Namespace(
        data=str(text),
        wikitext=(str(text), str(text)),
        mmrec_rates=[0.001, 0.003, 0.01],
        attention_rates=[0.003, 0.01],
        seeds=2,
        tokens=1000,
        workdir=tmp_path,
    )


@pytest.fixture
def calls(monkeypatch):
    done = []

    def train(model, config, workdir):
        done.append((model, config.optim.lr, config.train.seed, config.data.train))
        assert config.train.seed == config.data.seed
        value = 2 + abs(config.optim.lr - 0.003) + 0.01 * config.train.seed
        value += {"none": 0.25}.get(config.model.memory, 0)
        return {
            "metrics": {"bits_per_byte": value} if config.optim.lr < 0.01 else None,
            "diverged_at": None if config.optim.lr < 0.01 else 7,
            "parameters": 1500,
            "tokens": 500,
            "tokens_per_second": 8000,
            "seconds": 1.0,
            "data": DATA | {"vocabulary": 2000},
        }

    monkeypatch.setattr(comparison, "train", train)
    return done


def test_the_parts_and_what_they_share(options, calls, tmp_path):
    log = tmp_path / "log.jsonl"
    lines = Quality(options, RunLog(log)).main()
    assert len(calls) == (3 + 1) + (2 + 1)
    speed = "8,000 |"
    assert (
        f"| MM-Rec | 1,500 | 0.003 | 500 (0.50) | 2.0000, 2.0100 | 2.0050 | 0.0071 | {speed}"
        in lines
    )
    rates = "| MM-Rec | 2.0020 | **2.0000** | diverged at step 7 |"
    assert rates in lines
    assert "| attention |  | **2.0000** | diverged at step 7 |" in lines
    assert "attention's best rate is the last one tried on its side: try more." in lines
    assert lines[0].startswith("Text: words.txt. Training: 1,000 documents")

    lines = Quality(options, RunLog(log)).ablations()
    assert len(calls) == 7 + 7  # the base row's two seeds are main's
    assert len(lines) == 2 + 8
    base = "base (gate=state, memory=delta, HEM, DPG)"
    assert lines[2] == f"| {base} | 1,500 | 2.0000, 2.0100 |  | 8,000 |"
    assert "| memory=none | 1,500 | 2.2500 | +0.2500 | 8,000 |" in lines

    lines = Quality(options, RunLog(log)).wikitext()
    assert len(calls) == 7 + 7 + 2
    assert {call[1] for call in calls[-2:]} == {0.003}
    for part in ("main", "ablations", "wikitext"):
        getattr(Quality(options, RunLog(log)), part)()
    assert len(calls) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/no/such/file"], "--data: there is no file"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--parts", "wikitext"], "needs --wikitext"),
        (["--mmrec-rates", "0"], "config.optim.lr is 0"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, message, tmp_path, monkeypatch):
    text = str(write_text(tmp_path / "words.txt"))
    monkeypatch.setattr(sys, "argv", ["quality", "--data", text, *arguments])
    with pytest.raises(UserError, match=message):
        quality._check(quality._options())
