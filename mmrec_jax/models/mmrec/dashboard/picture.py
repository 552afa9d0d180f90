"""The dashboard as one picture of six panels."""

from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from mmrec_jax.models.mmrec.dashboard.summary import Summary

_NAMED_LAYERS = 8  # in the legend, at most


def draw(summary: Summary, title: str, path: Path) -> None:
    """Writes a PNG with one colour per layer, from dark to light (safe for colour-blind eyes)."""
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(13, 7.2), layout="constrained")
    panels = figure.subplots(2, 3)
    layers = summary["layers"]
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(layers)))
    for axes, panel in zip(panels.flat, _PANELS, strict=True):
        panel(axes, summary, colours)
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
        shares, label = row / row.sum(), f"layer {number}"
        axes.stairs(shares, summary[edges], color=colour, linewidth=1.5, label=label)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return counts


def _half_lives(axes: Axes, summary: Summary, colours: np.ndarray, kind: str) -> None:
    edges = summary["half_life_edges"]
    counts = _shares(axes, summary, colours, kind, "half_life_edges")
    used = np.flatnonzero(counts.sum(axis=0) > 1e-3 * counts.sum())
    axes.set_xscale("log", base=2)
    axes.set_xlim(edges[used[0]], edges[used[-1] + 1])
    axes.set_xlabel("half-life (tokens)")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))


def _short_term(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    _half_lives(axes, summary, colours, "gamma")
    axes.set_title("Short-term decay γ")
    axes.set_ylabel("share of tokens × channels")


def _long_term(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    axes.set_title("Long-term decay α (dots: memories)")
    if _absent(axes, summary, "alpha_histogram"):
        return
    _half_lives(axes, summary, colours, "alpha")
    axes.set_ylabel("share of tokens × memories")
    for layer, colour in zip(summary["layers"], colours, strict=True):
        half_lives = np.clip(layer["alpha_half_life"], *axes.get_xlim())
        axes.plot(half_lives, np.zeros(len(half_lives)), "o", color=colour, clip_on=False, ms=5)


def _gate(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    axes.set_title("Gate of the short-term memory")
    if _absent(axes, summary, "gate_low"):
        return
    _shares(axes, summary, colours, "gate", "gate_edges")
    low, high = (
        np.mean([layer[name] for layer in summary["layers"]]) for name in ("gate_low", "gate_high")
    )
    for left, right, share, side in ((0, 0.1, low, "left"), (1.9, 2, high, "right")):
        axes.axvspan(left, right, color="grey", alpha=0.25, linewidth=0)
        x = {"left": 0.13, "right": 1.87}[side]
        axes.text(x, 0.95, f"{share:.1%}", ha=side, transform=axes.get_xaxis_transform())
    axes.set_xlim(0, 2)
    axes.set_xlabel("gate (shaded: saturated)")
    axes.set_ylabel("share of tokens × channels")


def _norms(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    axes.set_title("State norms (solid: h, dashed: M)")
    positions = summary["positions"]
    for layer, colour in zip(summary["layers"], colours, strict=True):
        axes.plot(positions, layer["state_rms"], "-", color=colour)
        if "memory_norm" in layer:
            axes.plot(positions, np.mean(layer["memory_norm"], axis=0), "--", color=colour)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("position in the document (tokens)")
    axes.set_ylabel("RMS of h, Frobenius norm of M")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(FuncFormatter(_plain))
    axes.tick_params(axis="y", which="minor", labelsize=8)


def _writes(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    axes.set_title("Write strength β (dots: means)")
    if _absent(axes, summary, "write_histogram"):
        return
    _shares(axes, summary, colours, "write", "write_edges")
    for layer, colour in zip(summary["layers"], colours, strict=True):
        axes.plot(np.mean(layer["write_strength"]), 0, "o", color=colour, clip_on=False, ms=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("β (0: no write, 1: old value replaced)")
    axes.set_ylabel("share of tokens × memories")


def _ranks(axes: Axes, summary: Summary, colours: np.ndarray) -> None:
    axes.set_title("Effective rank of M, end of row")
    if _absent(axes, summary, "effective_rank"):
        return
    for number, layer in enumerate(summary["layers"]):
        ranks = np.array(layer["effective_rank"], float)
        axes.plot(np.full(len(ranks), number), ranks, "o", color=colours[number], alpha=0.8)
    most = min(summary["memory_size"])
    axes.axhline(most, color="grey", linestyle=":")
    axes.text(
        0.02, most, f"largest possible: {most}", va="bottom", transform=axes.get_yaxis_transform()
    )
    axes.set_ylim(0, 1.12 * most)
    axes.set_xlabel("layer (a dot: one memory)")
    axes.set_ylabel("effective rank")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _absent(axes: Axes, summary: Summary, name: str) -> bool:
    """Says so in the panel where the model has no such part."""
    if name in summary["layers"][0]:
        return False
    axes.text(0.5, 0.5, "none in this model", ha="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])
    return True


def _plain(x: float, _: object) -> str:
    return f"{x:,.0f}" if x >= 1 else f"{x:.3g}"


_PANELS = (_short_term, _long_term, _gate, _norms, _writes, _ranks)
