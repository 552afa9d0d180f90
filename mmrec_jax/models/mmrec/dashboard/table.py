"""The dashboard as text: a line for each layer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmrec_jax.models.mmrec.dashboard.summary import Summary


def format_table(summary: Summary) -> str:
    """Columns of numbers, right-aligned under their names; what a model lacks is left out.

    Half-lives are the 10th, 50th and 90th percentile of the channels, and the least and the
    greatest of the memories; norms are those at the last positions.
    """
    layers = summary["layers"]
    columns = [["layer", *map(str, range(len(layers)))]]
    for title, name, write in _COLUMNS:
        if name in layers[0]:
            columns.append([title, *(write(layer[name]) for layer in layers)])
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in zip(*columns, strict=True)
    )


def _percentiles(x: Sequence[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in np.percentile(x, [10, 50, 90]))


def _range(x: Sequence[float]) -> str:
    return f"{min(x):.3g} to {max(x):.3g}"


def _mean(x: Any) -> str:
    return f"{np.mean(x):.3g}"


def _last(x: Sequence[float]) -> str:
    return f"{x[-1]:.3g}"


def _mean_last(x: Sequence[Sequence[float]]) -> str:
    return _mean([values[-1] for values in x])


def _percent(x: float) -> str:
    return f"{x:.2%}"


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("gamma half-life", "gamma_half_life", _percentiles),
    ("alpha half-life", "alpha_half_life", _range),
    ("gate<0.1", "gate_low", _percent),
    (">1.9", "gate_high", _percent),
    ("|w_g|", "gate_weight", _mean),
    ("|h|", "state_rms", _last),
    ("var n(h)", "state_variance", _mean),
    ("beta", "write_strength", _mean),
    ("|M|", "memory_norm", _mean_last),
    ("rank M", "effective_rank", _mean),
    ("newton", "newton_iterations", _mean),
    ("residual", "newton_residual", _mean),
    ("uboo skill", "uboo_skill", _mean),
)
