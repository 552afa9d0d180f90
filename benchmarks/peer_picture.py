"""What `peer_speed.py` measured, as a picture."""

from pathlib import Path
from typing import Any

import matplotlib.figure

from benchmarks.peer_table import find
from benchmarks.speed_table import tokens_per_second


def draw(report: dict[str, Any], path: Path) -> None:
    """Draws training speed against T, and decoding speed and state against the context.

    A training speed from a cell that its limit stopped is drawn hollow, and what is not known is
    left out.
    """
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(12, 4.2), layout="constrained")
    training, decoding, state = figure.subplots(1, 3)
    cells = report["cells"]
    for index, (name, label) in enumerate(report["models"].items()):
        style = {"color": f"C{index}", "linewidth": 2.5 if name == "mmrec" else 1.2}
        found = [find(cells, name, length=length) for length in report["lengths"]]
        _line(training, report["lengths"], found, tokens_per_second, style, label)
        found = [find(cells, name, context=context) for context in report["contexts"]]
        _line(decoding, report["contexts"], found, tokens_per_second, style, label)
        _line(state, report["contexts"], found, lambda cell: cell["state_bytes"], style, label)
    training.set(title="training", xlabel="T (tokens)", ylabel="tokens/s")
    decoding.set(title="decoding, one sample", xlabel="context (tokens)", ylabel="tokens/s")
    state.set(title="state", xlabel="context (tokens)", ylabel="bytes")
    for axes, name in ((training, "lengths"), (decoding, "contexts"), (state, "contexts")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(report[name], [f"{length:,}" for length in report[name]])
        axes.grid(alpha=0.3, which="both")
    state.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=120)


def _line(
    axes: Any, lengths: list[int], cells: list[Any], value: Any, style: dict[str, Any], label: str
) -> None:
    points = [
        (length, value(cell), bool(cell["failed"]))
        for length, cell in zip(lengths, cells, strict=True)
        if cell is not None and value(cell) is not None
    ]
    axes.plot([p[0] for p in points], [p[1] for p in points], label=label, **style)
    for length, height, stopped in points:
        face = "white" if stopped else style["color"]
        axes.plot([length], [height], "o", color=style["color"], markerfacecolor=face)
