"""What `quality.py` measured, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.markdown import header, row
from benchmarks.run_log import Record

TITLES = {"mmrec": "MM-Rec", "attention": "attention"}


def bits(record: Record) -> float:
    """Validation bits per byte; infinite for a run that diverged."""
    return record["metrics"]["bits_per_byte"] if record["metrics"] else float("inf")


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
