"""What `optimizers.py` measured, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from benchmarks.optimizers_table import TITLES, point
from benchmarks.run_log import Record


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
        values = np.array([[bits for _, bits in run["curve"]["validation"]] for run in whole])
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
