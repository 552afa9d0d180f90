"""MM-Rec beside attention of the same size, and with each of its parts taken away, on text.

    python -m benchmarks.quality --data 'FILE.txt,FILE.txt' --wikitext TRAIN.txt TEST.txt

Both models: width 128, 4 layers, rows of 512 tokens, a unigram vocabulary of 2,000, about 1 M
training tokens; the attention model's feed-forward layer is as wide as equal parameters want it.

* main: every learning rate at seed 0, the best one at 3 seeds (of the parameters and of the order
  of the data); the rate is chosen by the same validation text that is reported, for both models.
* wikitext: the same once, at the rates that main chose.
* ablations: MM-Rec at its rate with one switch changed at a time, parameters not matched again.

Prints Markdown; every finished run is a line of --log and is not done again, so the same command
continues what was interrupted, and more rates or seeds cost only what is new.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import MODELS, check, run_once
from benchmarks.markdown import header, row
from benchmarks.run_log import Record, RunLog, bits
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config, OptimConfig, TrainConfig
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig

PARTS = ("main", "wikitext", "ablations")
ABLATIONS: dict[str, dict[str, object]] = {
    "base (gate=state, memory=delta, HEM, DPG)": {},
    "gate=input": {"gate": "input"},
    "gate=none": {"gate": "none"},
    "memory=decay": {"memory": "decay"},
    "memory=none": {"memory": "none"},
    "use_hem=False": {"use_hem": False},
    "use_dpg=False": {"use_dpg": False},
    "objectives.uboo": {"objectives": Objectives(uboo=UBOOConfig())},
}
_BASE_SEEDS = 2  # of the ablations' base: how much of a difference is chance


def main() -> int:
    """Runs the chosen parts, one after the other; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        quality = Quality(options, RunLog(options.log))
        parts = {
            "main": quality.main,
            "wikitext": quality.wikitext,
            "ablations": quality.ablations,
        }
        for name in options.parts:
            print("\n".join(["", f"## {name}", "", *parts[name](), ""]), flush=True)
        return 0


def base_config(data: str, tokens: int) -> Config:
    """The run of the main part; learning rate and seeds are set for each."""
    return Config(
        model=MMRecConfig(
            vocab_size=2000, model_dim=128, num_layers=4, num_memories=4, context=512
        ),
        data=TextConfig(train=data, validation_fraction=0.04, seq_len=512),
        train=TrainConfig(tokens=tokens, batch_size=4, eval_every=100, sample_tokens=0),
    )


class Quality:
    """The parts of this benchmark over one log."""

    def __init__(self, options: argparse.Namespace, log: RunLog) -> None:
        self._options = options
        self._log = log
        self._base = base_config(options.data, options.tokens)
        self._rates = {"mmrec": options.mmrec_rates, "attention": options.attention_rates}

    def main(self) -> list[str]:
        """Learning rates, then seeds."""
        sweeps = {model: self._sweep(model) for model in MODELS}
        runs = {
            model: [
                self._run(model, self._base, best_rate(sweep), seed)
                for seed in range(self._options.seeds)
            ]
            for model, sweep in sweeps.items()
        }
        first = runs["mmrec"][0]
        return [data_line(first), "", *models_table(runs), "", *rates_table(sweeps)]

    def wikitext(self) -> list[str]:
        """One run a model on other text."""
        train, test = self._options.wikitext
        data = dataclasses.replace(self._base.data, train=train, validation=test, documents="file")
        # The test text is long: it is read once, at the end.
        config = dataclasses.replace(
            self._base,
            data=data,
            train=dataclasses.replace(self._base.train, eval_every=10**9),
        )
        runs = {
            model: [self._run(model, config, best_rate(self._sweep(model)), 0)] for model in MODELS
        }
        return [data_line(runs["mmrec"][0]), "", *models_table(runs)]

    def ablations(self) -> list[str]:
        """MM-Rec with one switch changed at a time."""
        rate = best_rate(self._sweep("mmrec"))
        runs = {}
        for name, switches in ABLATIONS.items():
            own: Any = {name: x for name, x in switches.items() if name != "objectives"}
            model = dataclasses.replace(self._base.model, **own)
            objectives: Any = switches.get("objectives", Objectives())
            config = dataclasses.replace(self._base, model=model, objectives=objectives)
            seeds = 1 if switches else _BASE_SEEDS
            runs[name] = [self._run("mmrec", config, rate, seed) for seed in range(seeds)]
        return ablations_table(runs)

    def _sweep(self, model: str) -> list[Record]:
        """Every learning rate at seed 0."""
        return [self._run(model, self._base, rate, 0) for rate in self._rates[model]]

    def _run(self, model: str, config: Config, rate: float, seed: int) -> Record:
        config = dataclasses.replace(
            config,
            optim=OptimConfig(lr=rate),
            data=dataclasses.replace(config.data, seed=seed),
            train=dataclasses.replace(config.train, seed=seed),
        )
        return run_once(self._log, model, config, self._options.workdir)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="text files, comma-separated; blank lines part documents")
    add("--wikitext", nargs=2, metavar=("TRAIN", "TEST"), help="files for the part wikitext")
    add("--parts", nargs="+", choices=PARTS, default=["main", "ablations"])
    add("--mmrec-rates", type=float, nargs="+", default=[1.5e-3, 3e-3, 6e-3], metavar="LR")
    add("--attention-rates", type=float, nargs="+", default=[1.5e-3, 3e-3, 6e-3], metavar="LR")
    add("--seeds", type=int, default=3, help="runs of each model at its best rate")
    add("--tokens", type=int, default=1_000_000, help="to train on, in each run")
    add("--log", type=Path, default=Path("benchmarks/logs/quality.jsonl"))
    add("--workdir", type=Path, default=Path("runs/quality"), help="for tokenizers and programs")
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: a number or a file that cannot be right, before the first run."""
    require_positive(options, "seeds", "tokens")
    find_files(options.data, "--data")
    if "wikitext" in options.parts and not options.wikitext:
        raise UserError("--parts wikitext needs --wikitext TRAIN TEST")
    for path in options.wikitext or ():
        find_files(path, "--wikitext")
    for rate in (*options.mmrec_rates, *options.attention_rates):
        OptimConfig(lr=rate)
    check("attention", base_config(options.data, options.tokens))


TITLES = {"mmrec": "MM-Rec", "attention": "attention"}


def best_rate(records: Sequence[Record]) -> float:
    """The learning rate of the run with the fewest bits per byte."""
    return min(records, key=bits)["lr"]


def rates_table(sweeps: Mapping[str, Sequence[Record]]) -> list[str]:
    """Bits per byte of each model at each learning rate tried, one seed."""
    rates = sorted({record["lr"] for records in sweeps.values() for record in records})
    lines = header(["bits/byte at learning rate", *(f"{rate:g}" for rate in rates)])
    edges = []
    for model, records in sweeps.items():
        cells = {record["lr"]: _bits(record) for record in records}
        best = best_rate(records)
        cells[best] = f"**{cells[best]}**"
        title = TITLES.get(model, model)
        lines.append(row([title, *(cells.get(rate, "") for rate in rates)]))
        if len(cells) > 1 and best in (min(cells), max(cells)):
            edges.append(f"{title}'s best rate is the last one tried on its side: try more.")
    return lines + [line for edge in edges for line in ("", edge)]


def models_table(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """Bits per byte of each model over its seeds, all at one learning rate."""
    lines = header(
        [
            "model",
            "parameters",
            "learning rate",
            "tokens read (passes)",
            "validation bits/byte by seed",
            "mean",
            "standard deviation",
            "training tokens/s",
        ]
    )
    for model, records in runs.items():
        first, values = records[0], [bits(record) for record in records]
        spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-"
        speed = statistics.median(record["tokens_per_second"] or 0 for record in records)
        passes = first["tokens"] / first["data"]["train_tokens"]
        lines.append(
            row(
                [
                    TITLES[model],
                    f"{first['parameters']:,}",
                    f"{first['lr']:g}",
                    f"{first['tokens']:,} ({passes:.2f})",
                    ", ".join(_bits(record) for record in records),
                    f"{statistics.fmean(values):.4f}",
                    spread,
                    f"{speed:,.0f}",
                ]
            )
        )
    return lines


def ablations_table(runs: Mapping[str, Sequence[Record]]) -> list[str]:
    """MM-Rec with one switch changed; the first row is the base, which differences are to."""
    lines = header(
        ["switch", "parameters", "validation bits/byte by seed", "to the base", "training tokens/s"]
    )
    base = next(iter(runs.values()))[0]
    for name, records in runs.items():
        first = records[0]
        difference = "" if first is base else f"{bits(first) - bits(base):+.4f}"
        cells = [name, f"{first['parameters']:,}", ", ".join(map(_bits, records)), difference]
        lines.append(row([*cells, f"{first['tokens_per_second'] or 0:,}"]))
    return lines


def data_line(record: Record) -> str:
    """The text that a run was trained and evaluated on, in a sentence."""
    data = record["data"]
    splits = (
        f"{data[f'{split}_documents']:,} documents, {data[f'{split}_bytes']:,} bytes, "
        f"{data[f'{split}_tokens']:,} tokens"
        for split in ("train", "validation")
    )
    names = record["fields"].get("data.train", record["fields"].get("data.source", "treebank"))
    train, validation = splits
    return (
        f"Text: {names}. Training: {train}. Validation: {validation}. "
        f"{data['vocabulary']:,} tokens in the vocabulary."
    )


def _bits(record: Record) -> str:
    if record["metrics"] is None:
        return f"diverged at step {record['diverged_at']:,}"
    return f"{bits(record):.4f}"


if __name__ == "__main__":
    raise SystemExit(main())
