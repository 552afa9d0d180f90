"""What a probe found as files: its numbers, and a picture."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.evaluation.loss_by_position import Estimate, PositionLoss
from mmrec_jax.evaluation.needle import NeedleScore
from mmrec_jax.evaluation.recall import RecallScore

_DPI = 120


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON, null for what is not finite (JSON has no word for it), in one step."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    replace_file(path, text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def draw_loss_by_position(result: PositionLoss, title: str, path: Path) -> None:
    """Both losses above, and what the longer context is worth below."""
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    centres = [(each.first * each.last) ** 0.5 for each in result.bins]

    def draw(axes: matplotlib.axes.Axes, estimates: list[Estimate], label: str) -> None:
        means, errors = zip(*((e.mean, e.error or 0.0) for e in estimates), strict=True)
        axes.errorbar(centres, means, errors, fmt="o-", markersize=3, capsize=2, label=label)

    draw(above, [each.carried for each in result.bins], "state carried from the beginning")
    every = f"state reset every {result.reset_every:,} tokens"
    draw(above, [each.reset for each in result.bins], every)
    above.set(ylabel="loss (nats/token)", title=title)
    draw(below, [each.profit for each in result.bins], "difference, token by token")
    below.axhline(0, color="black", linewidth=0.8)
    below.set(xlabel="tokens of context", ylabel="profit (nats/token)")
    _save(figure, result.reset_every, result.longest, path)


def draw_task_by_length(
    scores: Mapping[int, Mapping[str, float]], trained: int, title: str, path: Path
) -> None:
    """`accuracy`, `token_accuracy` and `loss` of a task at each length."""
    figure = matplotlib.figure.Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    lengths = sorted(scores)
    for name, label in (("accuracy", "final answers"), ("token_accuracy", "all answers")):
        above.plot(lengths, [scores[n][name] for n in lengths], "o-", markersize=4, label=label)
    above.set(ylabel="accuracy", ylim=(-0.03, 1.03), title=title)
    below.plot(lengths, [scores[n]["loss"] for n in lengths], "o-", markersize=4, label="loss")
    below.set(xlabel="tokens in a sequence", ylabel="loss (nats per answer)")
    _save(figure, trained, lengths[-1], path)


def draw_recall(
    recall: Sequence[RecallScore], needle: Sequence[NeedleScore], title: str, path: Path
) -> None:
    """MQAR accuracy against the number of pairs; the needle by depth and length, if measured."""
    figure = matplotlib.figure.Figure(figsize=(15 if needle else 5, 4), layout="constrained")
    figure.suptitle(title)
    axes, *maps = figure.subplots(1, 3 if needle else 1, squeeze=False)[0]
    pairs = [score.pairs for score in recall]
    errors = [score.error or 0.0 for score in recall]
    accuracies = [score.accuracy for score in recall]
    axes.errorbar(pairs, accuracies, errors, fmt="o-", markersize=4, capsize=2, label="model")
    axes.plot(pairs, [score.chance for score in recall], "k--", linewidth=1, label="chance")
    axes.set(xlabel="pairs", ylabel="accuracy", ylim=(-0.03, 1.03), title="MQAR")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    if needle:
        accuracy = np.array([score.accuracy for score in needle]).T
        profit = np.array([score.profit for score in needle]).T
        _draw_map(maps[0], needle, accuracy, "needle: value is first of 101", (0, 1), "viridis")
        # Symmetric: white is no profit.
        limit = max(float(np.abs(profit[np.isfinite(profit)]).max(initial=0.0)), 1e-3)
        label = "needle: profit (nats/token)"
        _draw_map(maps[1], needle, profit, label, (-limit, limit), "RdBu")
    figure.savefig(path, dpi=_DPI)


def _draw_map(
    axes: matplotlib.axes.Axes,
    needle: Sequence[NeedleScore],
    values: np.ndarray,
    title: str,
    limits: tuple[float, float],
    colours: str,
) -> None:
    """`values`: [depths, lengths]."""
    image = axes.imshow(values, aspect="auto", vmin=limits[0], vmax=limits[1], cmap=colours)
    axes.set_xticks(range(len(needle)), [f"{score.length:,}" for score in needle])
    axes.set_yticks(range(len(values)), [f"{depth} %" for depth in needle[0].depths])
    axes.set(xlabel="tokens of text", ylabel="depth of the needle", title=title)
    axes.figure.colorbar(image, ax=axes)


def _save(figure: matplotlib.figure.Figure, trained: int, longest: int, path: Path) -> None:
    """Scales the axes by octaves of length, and shades what is beyond the trained length."""
    figure.axes[-1].set_xscale("log", base=2)
    figure.axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    for axes in figure.axes:
        if longest > trained:
            label = f"beyond the trained {trained:,} tokens"
            axes.axvspan(trained, longest, color="tab:orange", alpha=0.12, label=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=_DPI)
