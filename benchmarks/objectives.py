"""What each objective for long context does to a small MM-Rec, at equal tokens, two seeds.

    python -m benchmarks.objectives --data en_janeausten.txt

The first nine tenths of the file are one document to train on, the last tenth is held out. A run is
`TOKENS` tokens in rows of 512, width 64, 2 layers, a unigram vocabulary of 500; then the held-out
text is read through 32,768 tokens with the state carried and with it reset every 512, and a needle
is asked for 1,024 and 4,096 tokens back. Prints Markdown; every finished run is a line of --log and
is not done again.
"""

import argparse
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import run_once
from benchmarks.markdown import header, row
from benchmarks.run_log import Record, RunLog
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.evaluation.length import length
from mmrec_jax.evaluation.recall import recall
from mmrec_jax.evaluation.registry import EVALUATORS
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.long_range import LongRangeConfig
from mmrec_jax.objectives.memory_consistency import MemoryConsistencyConfig
from mmrec_jax.objectives.sequence import SequenceConfig

TOKENS = 400_000
VARIANTS: dict[str, Objectives] = {
    "base": Objectives(),
    "long_range": Objectives(long_range=LongRangeConfig(reset_every=128)),
    "memory_consistency": Objectives(memory_consistency=MemoryConsistencyConfig()),
    "sequence": Objectives(sequence=SequenceConfig()),
}
_ROW = 512
_BACK = (1024, 4096)
EVALUATORS.register("far_context")(functools.partial(length, max_length=32_768, max_tokens=32_768))
EVALUATORS.register("needle_in_text")(functools.partial(recall, lengths=_BACK, sequences=2))


def main() -> int:
    """Does the runs that are missing; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="one text file")
    add("--seeds", type=int, default=2)
    add("--tokens", type=int, default=TOKENS, help="to train on, in each run")
    add("--log", type=Path, default=Path("benchmarks/logs/objectives.jsonl"))
    add("--workdir", type=Path, default=Path("runs/objectives"), help="for texts and tokenizers")
    options = parser.parse_args()
    with exit_on_user_error():
        require_positive(options, "seeds", "tokens")
        base = _config(options.data, options.tokens, options.workdir)
        log = RunLog(options.log)
        runs: dict[str, list[Record]] = {name: [] for name in VARIANTS}
        for seed in range(options.seeds):
            for name, objectives in VARIANTS.items():
                config = dataclasses.replace(
                    base,
                    objectives=objectives,
                    data=dataclasses.replace(base.data, seed=seed),
                    train=dataclasses.replace(base.train, seed=seed),
                )
                runs[name].append(run_once(log, "mmrec", config, options.workdir))
        print("\n".join(["", *table(runs)]))
        return 0


def _config(data: str, tokens: int, workdir: Path) -> Config:
    (path,) = find_files(data, "--data")
    text = Path(path).read_text("utf-8")
    cut = text.rfind("\n", 0, len(text) * 9 // 10)
    workdir.mkdir(parents=True, exist_ok=True)
    train, validation = workdir / "train.txt", workdir / "validation.txt"
    train.write_text(text[:cut], "utf-8")
    validation.write_text(text[cut:], "utf-8")
    return Config(
        model=MMRecConfig(vocab_size=500, model_dim=64, num_layers=2, num_memories=2),
        data=TextConfig(
            train=str(train), validation=str(validation), documents="file", seq_len=_ROW
        ),
        tokenizer=TokenizerConfig(kind="unigram"),
        optim=OptimConfig(lr=3e-3, warmup_steps=20),
        train=TrainConfig(
            tokens=tokens,
            batch_size=4,
            devices=1,
            eval_every=10**9,
            eval_batches=32,
            evaluators=("far_context", "needle_in_text"),
            sample_tokens=0,
        ),
    )


def table(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """The mean over seeds of each number and, behind ±, half of their range."""
    metrics: list[Mapping[str, Any]] = [
        each["metrics"] or {} for records in runs.values() for each in records
    ]
    far = [name for name in metrics[0] if name.startswith("far_gain")]
    columns = ["loss", "loss@32768", *far, *(f"needle_gain@{back}" for back in _BACK)]
    lines = header(["objective", *columns, "tokens/s"])
    for name, records in runs.items():
        cells = [
            _spread([(each["metrics"] or {}).get(c, math.nan) for each in records]) for c in columns
        ]
        rate = sum(each["tokens_per_second"] or 0 for each in records) / len(records)
        lines.append(row([name, *cells, f"{rate:,.0f}"]))
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
