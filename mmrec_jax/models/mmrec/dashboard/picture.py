"""The dashboard as one picture of six panels."""

from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from mmrec_jax.models.mmrec.dashboard.summary import Summary

_NAMED_LAYERS = 8  # in the legend, at most
_PLAIN = FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:.3g}")


def draw(summary: Summary, title: str, path: Path) -> None:
    """Writes a PNG with one colour per layer, from dark to light (safe for colour-blind eyes)."""
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(13, 7.2), layout="constrained")
    panels = figure.subplots(2, 3)
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(summary["layers"])))
    for axes, (name, heading, panel) in zip(panels.flat, _PANELS, strict=True):
        axes.set_title(heading)
        if name in summary["layers"][0]:
            panel(axes, summary, colours)
        else:
            axes.text(0.5, 0.5, "none in this model", ha="center", transform=axes.transAxes)
            axes.set(xticks=[], yticks=[])
        axes.grid(alpha=0.25)
    lines, labels = panels.flat[0].get_legend_handles_labels()
    shown = np.unique(np.linspace(0, len(lines) - 1, min(len(lines), _NAMED_LAYERS)).astype(int))
    figure.legend(
        [lines[i] for i in shown],
        [labels[i] for i in shown],
        loc="outside lower center",
        ncols=len(shown),
        frameon=False,
    )
    figure.suptitle(f"{title}: {summary['tokens']:,} tokens")
    figure.savefig(path, dpi=100)


def _shares(axes: Axes, summary: Summary, colours: np.ndarray, kind: str, edges: str) -> np.ndarray:
    """A histogram per layer, as shares; returns the counts, [L, bins]."""
    counts = np.array([layer[f"{kind}_histogram"] for layer in summary["layers"]])
    for number, (row, colour) in enumerate(zip(counts, colours, strict=True)):
        label = f"layer {number}"
        axes.stairs(row / row.sum(), summary[edges], color=colour, linewidth=1.5, label=label)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel(f"share of tokens × {'channels' if kind in ('gamma', 'gate') else 'memories'}")
    return counts


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray, colour: np.ndarray) -> None:
    axes.plot(x, y, "o", color=colour, clip_on=False, ms=5, alpha=0.8)


def _short_term(axes: Axes, summary: Summary, colours: np.ndarray, kind: str = "gamma") -> None:
    edges = summary["half_life_edges"]
    counts = _shares(axes, summary, colours, kind, "half_life_edges")
    used = np.flatnonzero(counts.sum(axis=0) > 1e-3 * counts.sum())
    axes.set_xscale("log", base=2)
    axes.set(xlim=(edges[used[0]], edges[used[-1] + 1]), xlabel="half-life (tokens)")
    axes.xaxis.set_major_formatter(_PLAIN)


def _long_term(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    _short_term(axes, summary, colours, "alpha")
    for layer, colour in zip(summary["layers"], colours, strict=True):
        half_lives = np.clip(layer["alpha_half_life"], *axes.get_xlim())
        _dots(axes, half_lives, np.zeros(len(half_lives)), colour)


def _gate(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    _shares(axes, summary, colours, "gate", "gate_edges")
    for name, left, right, x, side in (
        ("gate_low", 0, 0.1, 0.13, "left"),
        ("gate_high", 1.9, 2, 1.87, "right"),
    ):
        share = np.mean([layer[name] for layer in summary["layers"]])
        axes.axvspan(left, right, color="grey", alpha=0.25, linewidth=0)
        axes.text(x, 0.95, f"{share:.1%}", ha=side, transform=axes.get_xaxis_transform())
    axes.set(xlim=(0, 2), xlabel="gate (shaded: saturated)")


def _norms(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    for layer, colour in zip(summary["layers"], colours, strict=True):
        axes.plot(summary["positions"], layer["state_rms"], "-", color=colour)
        if "memory_norm" in layer:
            norms = np.mean(layer["memory_norm"], axis=0)
            axes.plot(summary["positions"], norms, "--", color=colour)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(xlabel="position in the document (tokens)", ylabel="RMS of h, Frobenius norm of M")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_PLAIN)
    axes.yaxis.set_minor_formatter(_PLAIN)
    axes.tick_params(axis="y", which="minor", labelsize=8)


def _writes(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    _shares(axes, summary, colours, "write", "write_edges")
    for layer, colour in zip(summary["layers"], colours, strict=True):
        _dots(axes, np.mean(layer["write_strength"]), np.zeros(()), colour)
    axes.set(xlim=(0, 1), xlabel="β (0: no write, 1: old value replaced)")
    axes.set_ylim(bottom=0)


def _ranks(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    for number, layer in enumerate(summary["layers"]):
        ranks = np.array(layer["effective_rank"], float)
        _dots(axes, np.full(len(ranks), number), ranks, colours[number])
    most, text = min(summary["memory_size"]), axes.get_yaxis_transform()
    axes.axhline(most, color="grey", linestyle=":")
    axes.text(0.02, most, f"largest possible: {most}", va="bottom", transform=text)
    axes.set(xlabel="layer (a dot: one memory)", ylabel="effective rank", ylim=(0, 1.12 * most))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


# What a model must have for it, the heading, and the drawing.
_PANELS = (
    ("gamma_histogram", "Short-term decay γ", _short_term),
    ("alpha_histogram", "Long-term decay α (dots: memories)", _long_term),
    ("gate_low", "Gate of the short-term memory", _gate),
    ("state_rms", "State norms (solid: h, dashed: M)", _norms),
    ("write_histogram", "Write strength β (dots: means)", _writes),
    ("effective_rank", "Effective rank of M, end of row", _ranks),
)
