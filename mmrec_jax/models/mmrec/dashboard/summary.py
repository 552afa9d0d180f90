"""The dashboard's numbers by name: what is logged and kept as JSON, their table and picture."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.curves import Curve, Panel
from mmrec_jax.models.mmrec.dashboard.observer import (
    GATE_EDGES,
    LOG2_HALF_LIFE_EDGES,
    WRITE_EDGES,
    Accumulator,
    half_life,
)

Summary = dict[str, Any]
_MEANS = ("gate_weight", "state_variance", "write_strength", "effective_rank")


def summarise(accumulator: Accumulator) -> Summary:
    """Means and histograms from sums, as plain numbers and lists.

    Returns:
      `tokens`; `memory_size` (S, K); `half_life_edges` (tokens), `gate_edges` and `write_edges`, of
      the histograms; `positions` (the first of each octave that was read); and `layers`, one dict
      each:
        * `gamma_half_life` (tokens, of each channel, from its mean log decay), `gamma_histogram`
          (over tokens and channels);
        * with a gate `gate_low`, `gate_high` (shares below 0.1 and above 1.9) and
          `gate_histogram` (over tokens and channels), and with gate="state" `gate_weight` (RMS of
          w_g) and `gate_weight_max` (largest |w_g|);
        * `state_rms` (of h, at each of the positions) and `state_variance` (of n(h) over tokens,
          n = RMSNorm without a scale);
        * with a long-term memory, for each: `alpha_half_life` (tokens), `write_strength` (mean
          beta), `memory_norm` (RMS over tokens of the Frobenius norm of M, at each position) and
          `effective_rank` (at the end of the rows, the mean of them); and over all of them
          `alpha_histogram` and `write_histogram`;
        * with gate="state" `newton_iterations`, `newton_residual` and `newton_fell_back` (the worst
          chunk; 0 where the solver stepped through time).
    """
    config = accumulator.config
    filled = np.flatnonzero(accumulator.sums["positions"])
    return {
        "tokens": accumulator.tokens,
        "memory_size": [config.S, config.K] if config.H else None,
        "half_life_edges": (2.0**LOG2_HALF_LIFE_EDGES).tolist(),
        "gate_edges": GATE_EDGES.tolist(),
        "write_edges": WRITE_EDGES.tolist(),
        "positions": (2**filled).tolist(),
        "layers": [_layer(accumulator, layer, filled) for layer in range(config.num_layers)],
    }


def _layer(accumulator: Accumulator, layer: int, filled: NDArray[np.int64]) -> Summary:
    tokens = accumulator.tokens
    sums = {name: x if name == "positions" else x[layer] for name, x in accumulator.sums.items()}
    at = sums["positions"][filled]
    variance = np.mean(sums["n_square"] / tokens - np.square(sums["n_total"] / tokens))
    found: dict[str, Any] = {
        "gamma_half_life": half_life(sums["gamma_lost"] / tokens),
        "gamma_histogram": sums["gamma_counts"],
        "state_rms": np.sqrt(sums["h_square"][filled] / at),
        "state_variance": variance,
    }
    if "gate_low" in sums:
        found |= {name: sums[name] / tokens for name in ("gate_low", "gate_high")}
        found["gate_histogram"] = sums["gate_counts"]
    if accumulator.gate is not None:
        w = accumulator.gate[0][layer].astype(np.float64)
        found |= {"gate_weight": np.sqrt(np.mean(w**2)), "gate_weight_max": np.max(np.abs(w))}
    if accumulator.rank is not None:
        found |= {
            "alpha_half_life": half_life(sums["alpha_lost"] / tokens),
            "alpha_histogram": sums["alpha_counts"],
            "write_strength": sums["beta"] / tokens,
            "write_histogram": sums["write_counts"],
            "memory_norm": np.sqrt(sums["m_square"][filled] / at[:, None]).T,
            "effective_rank": accumulator.rank[layer],
        }
    found |= {name: x[layer] for name, x in accumulator.worst.items()}
    return {name: np.asarray(x).tolist() for name, x in found.items()}


def scalars(summary: Summary) -> dict[str, float]:
    """A handful of numbers for the whole model: medians of half-lives, else means over layers."""
    layers = summary["layers"]
    found = {
        name: np.concatenate([np.ravel(layer[name]) for layer in layers])
        for name in ("gamma_half_life", "alpha_half_life", "gate_low", "gate_high", *_MEANS)
        if name in layers[0]
    }
    result = {name: np.median(x) for name, x in found.items() if name.endswith("half_life")}
    result |= {name: np.mean(found[name]) for name in _MEANS if name in found}
    if "gate_low" in found:
        result["gate_saturation"] = np.mean(found["gate_low"] + found["gate_high"])
    if "memory_norm" in layers[0]:
        last = [norms[-1] for layer in layers for norms in layer["memory_norm"]]
        result["memory_norm"] = np.mean(last)
    result["state_rms"] = np.mean([layer["state_rms"][-1] for layer in layers])
    return {name: float(x) for name, x in result.items()}


def panels(summary: Summary) -> list[Panel]:
    """Curves of each layer; what a model lacks is left out."""
    layers, positions = summary["layers"], summary["positions"]

    def curves(x: Sequence[float], rows: Iterable[Sequence[float]]) -> dict[str, Curve]:
        return {f"layer {number}": (x, list(y), None) for number, y in enumerate(rows)}

    def histogram(name: str, edges: str) -> dict[str, Curve]:
        """Shares, between the first and the last bin that has some of them."""
        counts = np.array([layer[name] for layer in layers])
        used = np.flatnonzero(counts.sum(axis=0) > 1e-3 * counts.sum())
        some = slice(used[0], used[-1] + 1)
        return curves(summary[edges][some], (counts / counts.sum(axis=1, keepdims=True))[:, some])

    share = "share of tokens × channels"
    h = curves(positions, (layer["state_rms"] for layer in layers))
    found = [
        Panel("half-life of h (tokens)", share, histogram("gamma_histogram", "half_life_edges")),
        Panel("position in the document (tokens)", "RMS of h", h, log=True),
    ]
    if "gate_low" in layers[0]:
        gate = histogram("gate_histogram", "gate_edges")
        found.append(Panel("gate of h", share, gate, octaves=False))
    if summary["memory_size"]:
        share = "share of tokens × memories"
        half_lives = histogram("alpha_histogram", "half_life_edges")
        norms = curves(positions, (np.mean(layer["memory_norm"], axis=0) for layer in layers))
        writes = histogram("write_histogram", "write_edges")
        ranks = [float(np.mean(layer["effective_rank"])) for layer in layers]
        largest = [float(min(summary["memory_size"]))] * len(layers)
        by_layer = {"mean": ranks, "largest possible": largest}
        numbers = range(len(layers))
        found += [
            Panel("half-life of M (tokens)", share, half_lives),
            Panel("position in the document (tokens)", "Frobenius norm of M", norms, log=True),
            Panel("write strength β", share, writes, octaves=False),
            Panel(
                "layer",
                "effective rank of M, end of row",
                {label: (numbers, y, None) for label, y in by_layer.items()},
                octaves=False,
            ),
        ]
    return found


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


def _number(x: Any) -> str:
    return f"{x:.3g}"


def _percentiles(x: Sequence[float]) -> str:
    return " / ".join(map(_number, np.percentile(x, [10, 50, 90])))


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("gamma half-life", "gamma_half_life", _percentiles),
    ("alpha half-life", "alpha_half_life", lambda x: f"{min(x):.3g} to {max(x):.3g}"),
    ("gate<0.1", "gate_low", "{:.2%}".format),
    (">1.9", "gate_high", "{:.2%}".format),
    ("|w_g|", "gate_weight", lambda x: _number(np.mean(x))),
    ("|h|", "state_rms", lambda x: _number(x[-1])),
    ("var n(h)", "state_variance", lambda x: _number(np.mean(x))),
    ("beta", "write_strength", lambda x: _number(np.mean(x))),
    ("|M|", "memory_norm", lambda x: _number(np.mean([y[-1] for y in x]))),
    ("rank M", "effective_rank", lambda x: _number(np.mean(x))),
    ("newton", "newton_iterations", lambda x: _number(np.mean(x))),
    ("residual", "newton_residual", lambda x: _number(np.mean(x))),
)
