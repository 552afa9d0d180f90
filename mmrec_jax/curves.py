"""Curves side by side as a picture."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

# Positions, values, and their errors if they have any.
Curve = tuple[Sequence[float], Sequence[float], Sequence[float] | None]
_COLUMNS = 3
_MARKED = 50  # points of a curve that are marked
_NAMED = 8  # curves that the legend of a panel names


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    xlabel: str
    ylabel: str
    curves: Mapping[str, Curve]  # by label
    octaves: bool = True  # the x axis in powers of two
    log: bool = False  # the y axis is logarithmic
    share: bool = False  # the values are shares: the y axis is from 0 to 1
    trained: float | None = None  # what lies to the right of it is shaded, as beyond training


def draw_panels(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Writes a PNG; many curves of a panel are coloured from dark to light."""
    import matplotlib  # slow to import
    import matplotlib.figure

    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    figure.suptitle(title)
    for number, panel in enumerate(panels, 1):
        axes, count = figure.add_subplot(rows, columns, number), len(panel.curves)
        if count > 2:
            viridis = matplotlib.colormaps["viridis"]
            axes.set_prop_cycle(color=[viridis(index / count) for index in range(count)])
        for index, (label, (x, y, errors)) in enumerate(panel.curves.items()):
            style = "o-" if len(x) <= _MARKED else "-"
            named = "" if index % -(-count // _NAMED) else label
            axes.errorbar(x, y, errors, fmt=style, markersize=3, capsize=2, label=named)
        last = max((max(x) for x, _, _ in panel.curves.values()), default=0)
        if panel.trained is not None and last > panel.trained:
            label = f"beyond the trained {panel.trained:,} tokens"
            axes.axvspan(panel.trained, last, color="tab:orange", alpha=0.12, label=label)
        if panel.octaves:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:,.4g}")
        if panel.log:
            axes.set_yscale("log")
        if panel.share:
            axes.set_ylim(-0.03, 1.03)
        axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
        axes.grid(alpha=0.3)
        if count:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
