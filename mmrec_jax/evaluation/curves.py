"""Curves side by side as a picture: how evaluators draw what they found."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.figure

# Positions, values, and their errors if they have any.
Curve = tuple[Sequence[float], Sequence[float], Sequence[float] | None]
_MARKED = 50  # points of a curve that are marked


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    xlabel: str
    ylabel: str
    curves: Mapping[str, Curve]  # by label
    octaves: bool = True  # the x axis in powers of two
    share: bool = False  # the values are shares: the y axis is from 0 to 1
    trained: float | None = None  # what lies to the right of it is shaded, as beyond training


def draw_panels(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Writes a PNG."""
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(5 * len(panels), 4), layout="constrained")
    figure.suptitle(title)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, (x, y, errors) in panel.curves.items():
            style = "o-" if len(x) <= _MARKED else "-"
            axes.errorbar(x, y, errors, fmt=style, markersize=3, capsize=2, label=label)
        last = max((max(x) for x, _, _ in panel.curves.values()), default=0)
        if panel.trained is not None and last > panel.trained:
            label = f"beyond the trained {panel.trained:,} tokens"
            axes.axvspan(panel.trained, last, color="tab:orange", alpha=0.12, label=label)
        if panel.octaves:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:,.0f}")
        if panel.share:
            axes.set_ylim(-0.03, 1.03)
        axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
        axes.grid(alpha=0.3)
        if panel.curves:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
