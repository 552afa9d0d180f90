"""Pictures of a preparation: lengths, tokens of each source, what was left out of it."""

from pathlib import Path
from typing import Any

import matplotlib.figure

from mmrec_jax.data.prepared.tally import KEPT, REASONS

_NAME_LENGTH = 28


def draw_report(record: dict[str, Any], folder: Path) -> list[Path]:
    """Draws `report_record` into three files of a folder, and names them.

    Raises:
      OSError: they cannot be written.
    """
    return [
        _draw_lengths(record, folder / "report_lengths.png"),
        _draw_tokens(record, folder / "report_tokens.png"),
        _draw_left_out(record, folder / "report_left_out.png"),
    ]


def _draw_lengths(record: dict[str, Any], path: Path) -> Path:
    """How many documents of each length were read and kept."""
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    read, kept = (record["total"][name] for name in ("read_lengths", "kept_lengths"))
    used = [k for k, count in enumerate(read) if count] or [0]
    bins = range(used[0], used[-1] + 1)
    axes.bar(bins, [read[k] for k in bins], color="0.8", width=0.9, label="read")
    axes.bar(bins, [kept[k] for k in bins], width=0.6, label="kept")
    axes.set_xticks(bins, [f"{2**k:,}" for k in bins], rotation=60)
    axes.set(xlabel="characters of a document, at least", ylabel="documents", yscale="symlog")
    axes.set_ylim(0, 2 * max(read) or 1)
    axes.legend()
    figure.savefig(path, dpi=120)
    return path


def _draw_tokens(record: dict[str, Any], path: Path) -> Path:
    """How many tokens each source gave."""
    rows = [
        (source["name"], sum(source["counts"].get(f"{split}_tokens", 0) for split in KEPT))
        for source in record["sources"]
    ]
    figure, axes = _bars([name for name, _ in rows])
    axes.barh(range(len(rows)), [tokens for _, tokens in rows])
    axes.set(xlabel="tokens")
    figure.savefig(path, dpi=120)
    return path


def _draw_left_out(record: dict[str, Any], path: Path) -> Path:
    """What share of each source's documents was left out, and why: duplicates among it."""
    sources = record["sources"]
    figure, axes = _bars([source["name"] for source in sources])
    before = [0.0] * len(sources)
    for reason in REASONS:
        shares = [
            100 * source["counts"].get(reason, 0) / max(1, source["counts"].get("read", 0))
            for source in sources
        ]
        if any(shares):
            label = reason.replace("_", " ")
            axes.barh(range(len(sources)), shares, left=before, label=label)
            before = [x + y for x, y in zip(before, shares, strict=True)]
    axes.set(xlabel="% of the documents read that were left out", xlim=(0, 1.05 * max(before) or 1))
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=120)
    return path


def _bars(names: list[str]) -> tuple[matplotlib.figure.Figure, Any]:
    """An empty picture with a row for each name, the first on top."""
    figure = matplotlib.figure.Figure(figsize=(7, 1.8 + 0.35 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    short = [
        name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}" for name in names
    ]
    axes.set_yticks(range(len(names)), short)
    axes.invert_yaxis()
    return figure, axes
