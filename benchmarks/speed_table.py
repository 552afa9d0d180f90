"""What `training_speed.py` measured, as Markdown."""

import statistics
from typing import Any

from benchmarks.markdown import header, row

# One cell: `size`, `length`, `model`, `rows`, `parameters`, `compile_seconds`, `failed` (why it did
# not end well, or None), and what `timing.time_steps` yields. What is not known is None or [].
Measured = dict[str, Any]
_GIB = 2**30


def tokens_per_second(cell: Measured) -> float | None:
    """Of the median timed step; of the fastest warm step if the limit came first; None: of none."""
    tokens = cell["rows"] * cell["length"]
    if cell["step_seconds"]:
        return tokens / statistics.median(cell["step_seconds"])
    return tokens / min(cell["warm_seconds"]) if cell["warm_seconds"] else None


def to_markdown(report: dict[str, Any]) -> str:
    """The speed table, the details of each cell, and the floor."""
    models = report["models"]
    peers = [name for name in models if name != "mmrec"]
    head = ["model", "T", *(f"{models[name]}, tokens/s" for name in models)]
    lines = header(head + [f"MM-Rec / {models[name]}" for name in peers])
    rows: dict[tuple[str, int], dict[str, Measured]] = {}
    for cell in report["cells"]:
        rows.setdefault((cell["size"], cell["length"]), {})[cell["model"]] = cell
    for (size, length), cells in rows.items():
        entries = [_speed(cells.get(name)) for name in models]
        entries += [_ratio(cells.get("mmrec"), cells.get(name)) for name in peers]
        lines.append(row([size, f"{length:,}", *entries]))
    lines += ["", "Median step (slowest step to fastest step).", ""]
    lines += header(
        ["model", "T", "by", "parameters", "steps", "compile, s", "peak memory, GiB", "others"]
    )
    lines += [_detail(cell, models) for cell in report["cells"]]
    lines += ["", "Others: processor cores that other processes kept busy meanwhile.", ""]
    rates = report["rates"]
    lines.append(
        f"Matrix product {rates['matmul_flops_per_second'] / 1e9:.0f} GFLOP/s, "
        f"copy {rates['copy_bytes_per_second'] / 1e9:.1f} GB/s (read and written)."
    )
    for size, bound in report["floors"].items():
        lines.append(
            f"MM-Rec {size}: {bound['flops_per_token'] / 1e6:.2f} MFLOP/token, at most "
            f"{bound['tokens_per_second_by_flops']:,.0f} tokens/s; "
            f"{bound['bytes_per_token'] / 1e3:.0f} kB/token, at most "
            f"{bound['tokens_per_second_by_bytes']:,.0f} tokens/s."
        )
    return "\n".join(lines) + "\n"


def describe(cell: Measured) -> str:
    """A cell's speed and its spread, or why there is none."""
    rate = tokens_per_second(cell)
    if cell["failed"]:
        return cell["failed"] + (" (no step done)" if rate is None else f" (so far {rate:,.0f})")
    tokens, steps = cell["rows"] * cell["length"], cell["step_seconds"]
    return f"{rate:,.0f} ({tokens / max(steps):,.0f} to {tokens / min(steps):,.0f})"


def _speed(cell: Measured | None) -> str:
    return "not installed" if cell is None else describe(cell)


def _ratio(ours: Measured | None, theirs: Measured | None) -> str:
    if ours is None or theirs is None:
        return "-"
    rates = tokens_per_second(ours), tokens_per_second(theirs)
    if rates[0] is None or rates[1] is None:
        return "-"
    return f"{rates[0] / rates[1]:.2f}"


def _detail(cell: Measured, models: dict[str, str]) -> str:
    peak = cell["peak_bytes"] and cell["peak_bytes"] / _GIB
    return row(
        [
            cell["size"],
            f"{cell['length']:,}",
            models[cell["model"]],
            f"{cell['parameters']:,}",
            str(len(cell["step_seconds"])),
            number(cell["compile_seconds"], 1),
            number(peak, 2),
            number(cell["others"], 2),
        ]
    )


def number(value: float | None, digits: int) -> str:
    """What is not known is a question mark."""
    return "?" if value is None else f"{value:.{digits}f}"
