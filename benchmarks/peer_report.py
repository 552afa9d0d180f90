"""What `peer_speed.py` measured, as Markdown and as a picture."""

from pathlib import Path
from typing import Any

import matplotlib.figure

from benchmarks.markdown import header, row
from benchmarks.speed_table import Measured, describe, number, tokens_per_second

_GIB = 2**30


def to_markdown(report: dict[str, Any]) -> str:
    """A row a model with its speeds; one with its memory and state; and what each cell says."""
    models, cells = report["models"], report["cells"]
    lengths, contexts = report["lengths"], report["contexts"]
    head = [f"training, T = {length:,}" for length in lengths]
    head += [f"decoding after {context:,}" for context in contexts]
    lines = header(["tokens/s", "parameters", *head])
    for name, label in models.items():
        entries = [_speed(find(cells, name, length=length)) for length in lengths]
        entries += [_speed(find(cells, name, context=context)) for context in contexts]
        lines.append(row([label, _parameters(cells, name), *entries]))
    lines += ["", "Median of two steps (the slower to the faster one).", ""]
    head = [f"peak GiB, training, T = {length:,}" for length in lengths]
    head += [f"state bytes after {context:,}" for context in contexts]
    lines += header(["memory", *head])
    for name, label in models.items():
        entries = [_peak(find(cells, name, length=length)) for length in lengths]
        entries += [_state(find(cells, name, context=context)) for context in contexts]
        lines.append(row([label, *entries]))
    lines += ["", "Peak: resident memory of the whole process, its libraries included.", ""]
    lines += header(["cell", "by", "searched", "steps", "compile or read, s", "others", "version"])
    lines += [_detail(cell, models) for cell in cells]
    lines += [
        "",
        "Read: time for the context, compilation included. "
        "Others: processor cores that other processes kept busy meanwhile.",
        "",
        f"{report['machine']}; float32; {report['tokens']:,} tokens a training step, "
        f"{report['draws']:,} a decoding step. The models from `transformers` run its pure-torch "
        "code: the kernels of flash-attn, mamba-ssm, causal-conv1d and flash-linear-attention "
        "need a GPU.",
    ]
    return "\n".join(lines) + "\n"


def find(
    cells: list[Measured], model: str, *, length: int | None = None, context: int | None = None
) -> Measured | None:
    """The training cell of that length, or the decoding cell after that context; None: none."""
    for cell in cells:
        if cell["model"] != model or cell["context"] != context:
            continue
        if context is not None or cell["length"] == length:
            return cell
    return None


def _speed(cell: Measured | None) -> str:
    return "not installed" if cell is None else describe(cell)


def _parameters(cells: list[Measured], model: str) -> str:
    known = {cell["parameters"] for cell in cells if cell["model"] == model} - {None}
    return f"{known.pop():,}" if known else "?"


def _peak(cell: Measured | None) -> str:
    known = cell is not None and cell["peak_bytes"]
    return number(known / _GIB if known else None, 2)


def _state(cell: Measured | None) -> str:
    return f"{cell['state_bytes']:,}" if cell and cell["state_bytes"] is not None else "?"


def _detail(cell: Measured, models: dict[str, str]) -> str:
    training = cell["context"] is None
    return row(
        [
            f"T = {cell['length']:,}" if training else f"after {cell['context']:,}",
            models[cell["model"]],
            cell["searched"] or "-",
            str(len(cell["step_seconds"])),
            number(cell["compile_seconds" if training else "read_seconds"], 1),
            number(cell["others"], 2),
            cell["version"] or "?",
        ]
    )


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
