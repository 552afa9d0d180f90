"""What each way to a long context does to a small MM-Rec, at equal tokens, two seeds.

    python -m benchmarks.objectives --data en_janeausten.txt [--only base curriculum]

The chapters of the first nine tenths of the file are the documents to train on, the last tenth is
held out as one. A run is `TOKENS` tokens in steps of 4 rows of 512, width 64, 2 layers, a unigram
vocabulary of 500, and one change (`variants`); then the held-out text is read through 32,768 tokens
with the state carried and with it reset every 512, and a needle is asked for 1,024 and 4,096 tokens
back. Prints Markdown; every finished run is a line of --log at once and is not done again.

The table is at equal tokens. What a variant costs is its processor time in training (without
compilation and evaluation), in seconds and as a multiple of the base's: what it gains has to be
worth that many times the tokens of the base.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.markdown import header, row
from benchmarks.run_log import Record, RunLog
from mmrec_jax.checkpoints.lock import unlock_folder
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.evaluation.length import length
from mmrec_jax.evaluation.perplexity import loss
from mmrec_jax.evaluation.recall import recall
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.long_range import LongRangeConfig
from mmrec_jax.objectives.memory_consistency import MemoryConsistencyConfig
from mmrec_jax.objectives.sequence import SequenceConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.stages import StageConfig
from mmrec_jax.train.compiled_steps import CompiledSteps
from mmrec_jax.train.mesh import shard_batch
from mmrec_jax.train.setup import Setup, set_up
from mmrec_jax.train.state import TrainState

TOKENS = 400_000
_OBJECTIVES = {
    "long_range": LongRangeConfig(reset_every=128),
    "memory_consistency": MemoryConsistencyConfig(),
    "sequence": SequenceConfig(),
    "uboo": UBOOConfig(),
}
_ROW, _ROWS = 512, 4
_BACK = (1024, 4096)
_CHAPTER = re.compile(r"^(?=chapter )", re.IGNORECASE | re.MULTILINE)
_EVALUATORS = (
    loss,
    functools.partial(length, max_length=32_768, max_tokens=32_768),
    functools.partial(recall, lengths=_BACK, sequences=2),
)


def variants(base: Config) -> dict[str, Config]:
    """The run, and the run with one change."""
    objectives = {
        name: dataclasses.replace(base, objectives=Objectives(**{name: one}))
        for name, one in _OBJECTIVES.items()
    }
    third = (base.train.tokens or 0) // 3
    longer = tuple(  # twice as long and half as many in each third
        StageConfig(tokens=n * third, seq_len=_ROW << n, batch_size=_ROWS >> n) for n in (1, 2)
    )
    passing = dataclasses.replace(base.train, state_passing=0.5)
    return {
        "base": base,
        **objectives,
        "curriculum": dataclasses.replace(base, stages=longer),
        "state_passing": dataclasses.replace(base, train=passing),
    }


def main() -> int:
    """Does the runs that are missing; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="one text file")
    add("--seeds", type=int, default=2)
    add("--tokens", type=int, default=TOKENS, help="to train on, in each run")
    names = list(variants(Config(train=TrainConfig(tokens=TOKENS))))
    add("--only", nargs="+", choices=names, default=names, metavar="NAME", help="of these runs")
    add("--log", type=Path, default=Path("benchmarks/logs/objectives.jsonl"))
    add("--workdir", type=Path, default=Path("runs/objectives"), help="for texts and tokenizers")
    options = parser.parse_args()
    with exit_on_user_error():
        require_positive(options, "seeds", "tokens")
        base = _config(options.data, options.tokens, options.workdir)
        log = RunLog(options.log)
        runs: dict[str, list[Record]] = {}
        for seed in range(options.seeds):
            seeded = dataclasses.replace(
                base,
                data=dataclasses.replace(base.data, seed=seed),
                train=dataclasses.replace(base.train, seed=seed),
            )
            for name, config in variants(seeded).items():
                record = log.find("mmrec", config)
                if record is None and name in options.only:
                    print(f"{name}, seed {seed} ...", flush=True)
                    result = train(config, options.workdir / "run")
                    record = log.append("mmrec", config, {"variant": name, **result})
                    print(f"  {record['metrics']} in {record['cpu_seconds']:.0f} s", flush=True)
                if record is not None:
                    runs.setdefault(name, []).append(record)
        print("\n".join(["", *table(runs)]))
        return 0


def _config(data: str, tokens: int, workdir: Path) -> Config:
    (path,) = find_files(data, "--data")
    text = Path(path).read_text("utf-8")
    cut = text.rfind("\n", 0, len(text) * 9 // 10)
    workdir.mkdir(parents=True, exist_ok=True)
    chapters = [each for each in _CHAPTER.split(text[:cut]) if each.strip()]
    lines = "".join(json.dumps({"text": each}) + "\n" for each in chapters)
    stem = Path(path).stem
    train, validation = workdir / f"{stem}_train.jsonl", workdir / f"{stem}_validation.txt"
    train.write_text(lines, "utf-8")
    validation.write_text(text[cut:], "utf-8")
    return Config(
        model=MMRecConfig(vocab_size=500, model_dim=64, num_layers=2, num_memories=2),
        data=TextConfig(
            train=str(train), validation=str(validation), documents="file", seq_len=_ROW
        ),
        tokenizer=TokenizerConfig(kind="unigram"),
        optim=OptimConfig(lr=3e-3, warmup_steps=20),
        train=TrainConfig(tokens=tokens, batch_size=_ROWS, devices=1, eval_batches=32),
    )


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """A run without checkpoints, by the steps of `train.py`, and what is found at its end.

    Returns:
      `steps`; `tokens` read in training; `training_cpu_seconds` of it, without compilation;
      `cpu_seconds` of everything; `metrics`.
    """
    begin = time.process_time()
    p = set_up(config, workdir, fresh=True)
    try:
        with contextlib.closing(p.checkpointer), contextlib.closing(p.batches):
            state, tokens, seconds = _steps(p)
            request = EvaluationRequest(
                p.model, state.params, p.data, config, p.objectives, p.mesh, p.steps
            )
            metrics: dict[str, float] = {}
            for evaluate in _EVALUATORS:
                metrics |= evaluate(request).metrics
    finally:
        unlock_folder(p.workdir.root)
    return {
        "steps": p.steps,
        "tokens": tokens,
        "training_cpu_seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - begin, 1),
        "metrics": metrics if math.isfinite(metrics["loss"]) else None,
    }


def _steps(p: Setup) -> tuple[TrainState, int, float]:
    """Takes all steps; returns the last state, the tokens read and the processor time."""
    step, state, tokens = CompiledSteps(p), p.state, 0
    for stage in reversed(p.stages):  # all programs are there before the clock runs
        step.enter(stage)
    begins = {stage.begin: stage for stage in p.stages[1:]}
    clock = time.process_time()
    for number in range(1, p.steps + 1):
        if (following := begins.get(number - 1)) is not None:
            state = p.enter(following, state)
            step.enter(following)
        state, metrics = step(number, state, shard_batch(next(p.batches), p.mesh))
        tokens += int(metrics["tokens"])
    jax.block_until_ready(state)
    return state, tokens, time.process_time() - clock


def table(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """The mean over seeds of each number and, behind ±, half of their range."""
    metrics: list[Mapping[str, Any]] = [
        each["metrics"] or {} for records in runs.values() for each in records
    ]
    if not metrics:
        return []
    bins = (int(name[9:]) for name in metrics[0] if name.startswith("far_gain@"))
    far = [*(f"far_gain@{last}" for last in bins if last > _ROW), "far_gain"]
    losses = ["loss", "loss@256", "loss@32768"]
    columns = [*losses, *far, *(f"needle_gain@{back}" for back in _BACK)]
    lines = header(["variant", *columns, "training, s of CPU", "times base"])
    costs = {
        name: sum(each["training_cpu_seconds"] for each in records) / len(records)
        for name, records in runs.items()
    }
    for name, records in runs.items():
        cells = [
            _spread([(each["metrics"] or {}).get(c, math.nan) for each in records]) for c in columns
        ]
        times = f"{costs[name] / costs['base']:.2f}" if "base" in costs else ""
        lines.append(row([name, *cells, f"{costs[name]:.0f}", times]))
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
