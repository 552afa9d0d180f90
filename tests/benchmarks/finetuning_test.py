"""Which runs the fine-tuning benchmark does."""

import argparse
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import finetuning
from benchmarks.finetuning import Finetuning
from benchmarks.run_log import RunLog
from benchmarks.translation_pairs import write_pairs
from mmrec_jax.errors import UserError
from tests.small_run import write_text

_NAMED = "en", "tr"


@pytest.fixture
def pairs(tmp_path):
    """Forty sentences, each with two translations."""
    lines = [{"en": f"e{i // 2}", "tr": f"t{i}"} for i in range(80)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return path


@pytest.fixture
def options(tmp_path, pairs):
    return argparse.Namespace(
        text=str(write_text(tmp_path / "words.txt")),
        pairs=str(pairs),
        prompt_field="en",
        response_field="tr",
        base_tokens=1000,
        count=30,
        held_out=11,
        generated=5,
        rank=16,
        full_rates=[0.001, 0.002],
        adapter_rates=[0.002, 0.004, 0.008],
        seeds=2,
        workdir=tmp_path / "work",
    )


@pytest.fixture
def calls(monkeypatch):
    """The fine-tuning runs that were done: training is replaced by a formula, best at 0.004."""
    done = []

    def run(config, workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if workdir.name.startswith("base"):
            return 0
        done.append(config)
        bits = 1 + abs(config.optim.lr - 0.004) + 0.01 * config.train.seed
        lines = [
            {"step": step, "split": "validation", "bits_per_byte": value}
            for step, value in ((0, 2.5), (30, bits))
        ]
        (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
        (workdir / "checkpoints" / "30").mkdir(parents=True)
        (workdir / "checkpoints" / "30" / "arrays").write_bytes(b"x" * 1_500_000)
        return 0

    monkeypatch.setattr(finetuning, "run", run)
    monkeypatch.setattr(Finetuning, "_chrf", lambda self, workdir: 30.0)
    return done


def test_each_method_is_tuned_alike_and_run_with_and_without_noise(options, calls, tmp_path):
    log = tmp_path / "log.jsonl"
    lines = Finetuning(options, RunLog(log)).table()
    # Rates at seed 0, then another seed, then two seeds with NEFTune.
    assert len(calls) == (2 + 1 + 2) + 3 * (3 + 1 + 2)
    for config in calls:
        assert config.train.eval_first
        assert config.train.seed == config.data.seed
        assert Path(config.data.train).name.startswith("pairs_30_")
        assert Path(config.data.validation).name.startswith("held_out_12_")
        assert Path(config.init_from).name.startswith("base_1000_")
        assert config.adapters.alpha == (2 * config.adapters.rank)
    made = Counter((c.adapters.kind, c.adapters.rank, c.noise.alpha) for c in calls)
    assert made == {
        ("none", 8, 0.0): 3,
        ("none", 8, 5.0): 2,
        **{(kind, 16, 0.0): 4 for kind in ("lora", "dora")},
        **{(kind, 16, 5.0): 2 for kind in ("lora", "dora")},
        ("dora", 8, 0.0): 4,
        ("dora", 8, 5.0): 2,
    }
    best = {c.optim.lr for c in calls if c.noise.alpha and c.adapters.used}
    assert best == {0.004}
    assert Finetuning(options, RunLog(log)).table() == lines
    assert len(calls) == 5 + 18

    # Other options are other runs, and so are other pairs in a file of another name.
    other = tmp_path / "other.jsonl"
    other.write_text(Path(options.pairs).read_text("utf-8").replace(': "t', ': "u'), "utf-8")
    changes = [("generated", 6), ("base_tokens", 2000), ("pairs", str(other))]
    for times, (name, value) in enumerate(changes, start=2):
        setattr(options, name, value)
        Finetuning(options, RunLog(log)).table()
        assert len(calls) == times * (5 + 18), name


def test_no_prompt_is_both_trained_on_and_held_out(pairs, tmp_path):
    def prompts(path):
        lines = map(json.loads, path.read_text("utf-8").splitlines())
        return [line["prompt"] for line in lines]

    train, held_out = write_pairs(str(pairs), _NAMED, 30, 11, tmp_path / "out")
    assert (len(prompts(train)), len(prompts(held_out))) == (30, 12)
    assert not set(prompts(train)) & set(prompts(held_out))
    before = train.read_bytes()
    pairs.write_text("\n".join(reversed(pairs.read_text("utf-8").split("\n"))), "utf-8")
    again, _ = write_pairs(str(pairs), _NAMED, 30, 11, tmp_path / "out")
    assert sorted(again.read_bytes().splitlines()) == sorted(before.splitlines())
    with pytest.raises(UserError, match="has 80 pairs"):
        write_pairs(str(pairs), _NAMED, 70, 11, tmp_path / "out")
