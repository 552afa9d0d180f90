"""What `optimizers.py` measured, as Markdown and as a picture."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from benchmarks.markdown import header, row
from benchmarks.run_log import Record, bits

TITLES = {
    "adamw": "AdamW",
    "sophia_g": "Sophia-G",
    "sophia_h": "Sophia-H",
    "lion": "Lion",
    "muon": "Muon",
}
_KNOBS = ("lr", "b1", "b2", "gamma", "weight_decay")


def share_to_reach(record: Record, target: float) -> float | None:
    """The share of its tokens after which a run is at `target` bits per byte for the first time.

    A straight line between two evaluations; None if it never gets there.
    """
    before = None
    for step, value in record["curve"]["validation"]:
        if value <= target:
            if before is None:
                return step / record["steps"]
            part = (before[1] - target) / (before[1] - value)
            return (before[0] + part * (step - before[0])) / record["steps"]
        before = step, value
    return None


def ends_table(ends: Mapping[str, Sequence[Record]], cost: Mapping[str, float]) -> list[str]:
    """Each optimizer at its best point over the seeds, the best one first.

    Args:
      ends: its runs, by the name in `OptimConfig`.
      cost: time of a step over AdamW's; may be empty.
    """
    lines = header(
        [
            "optimizer",
            "point",
            "validation bits/byte by seed",
            "mean",
            "standard deviation",
            "to AdamW",
            "tokens to AdamW's end",
            "time of a step, AdamW 1",
            "time to AdamW's end",
        ]
    )
    means = {name: statistics.fmean(map(bits, records)) for name, records in ends.items()}
    for name in sorted(ends, key=means.__getitem__):
        records = ends[name]
        values = [bits(record) for record in records]
        spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-"
        cells = [TITLES[name], point(records[0]), ", ".join(map(_bits, records))]
        cells += [f"{means[name]:.4f}", spread]
        relative = cost.get(name)
        if "adamw" not in ends:
            cells += ["-", "-", _number(relative), "-"]
        else:
            share = mean_share(records, ends["adamw"])
            time = None if share is None or relative is None else share * relative
            cells += [f"{means[name] - means['adamw']:+.4f}", _percent(share), _number(relative)]
            cells.append(_percent(time) if relative is not None or share is None else "-")
        lines.append(row(cells))
    return lines


def mean_share(records: Sequence[Record], others: Sequence[Record]) -> float | None:
    """The mean share of its tokens after which a run is where another one of its seed ends.

    None if one of the runs never gets there.
    """
    pairs = zip(records, others, strict=True)
    shares = [share_to_reach(record, bits(other)) for record, other in pairs]
    known = [share for share in shares if share is not None]
    return statistics.fmean(known) if len(known) == len(shares) else None


def points_table(sweeps: Mapping[str, Sequence[Record]]) -> list[str]:
    """Every point that was tried, at seed 0; of Sophia the share of unclipped coordinates."""
    lines = header(["optimizer", "point", "bits/byte", "unclipped", "tokens/s", "processor s"])
    for name, records in sweeps.items():
        best = min(records, key=bits)
        for record in records:
            value = f"**{_bits(record)}**" if record is best else _bits(record)
            unclipped = record["unclipped"]
            cells = [TITLES[name], point(record), value]
            cells.append("" if unclipped is None else f"{unclipped:.1%}")
            cells += [f"{record['tokens_per_second'] or 0:,}", f"{record['cpu_seconds']:.0f}"]
            lines.append(row(cells))
    return lines


def point(record: Record) -> str:
    """The optimizer's numbers that the run does not leave at their defaults."""
    fields = record["fields"]
    return ", ".join(
        f"{knob} {fields[f'optim.{knob}']:g}" for knob in _KNOBS if f"optim.{knob}" in fields
    )


def _bits(record: Record) -> str:
    if record["metrics"] is None:
        return f"diverged after step {record['diverged_at']:,}"
    return f"{bits(record):.4f}"


def _percent(share: float | None) -> str:
    return "not reached" if share is None else f"{share:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def draw(ends: Mapping[str, Sequence[Record]], cost: Mapping[str, float], path: Path) -> None:
    """Draws validation bits per byte against tokens and against time.

    A line is the mean over the seeds, the band around it their range; runs that diverged are left
    out, and from the right half the optimizers whose cost is not known.

    Args:
      ends: the runs of each optimizer at its best point.
      cost: time of a step over AdamW's.
      path: of the PNG.
    """
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(11, 4.2), layout="constrained")
    tokens, time = figure.subplots(1, 2, sharey=True)
    for index, (name, records) in enumerate(ends.items()):
        whole = [record for record in records if record["metrics"] is not None]
        if not whole:
            continue
        steps = np.array([step for step, _ in whole[0]["curve"]["validation"]])
        values = np.array([[value for _, value in run["curve"]["validation"]] for run in whole])
        label = f"{TITLES[name]} ({point(whole[0])})"
        _band(tokens, steps * whole[0]["tokens"] / whole[0]["steps"], values, f"C{index}", label)
        if name in cost:
            _band(time, steps * cost[name], values, f"C{index}", label)
    tokens.set(xlabel="tokens", ylabel="validation bits/byte")
    time.set(xlabel="time, in steps of AdamW")
    tokens.set_yscale("log")
    for axes in (tokens, time):
        axes.grid(alpha=0.3, which="both")
    tokens.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _band(axes: Any, x: Any, values: Any, colour: str, label: str) -> None:
    axes.plot(x, values.mean(0), color=colour, label=label)
    axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
