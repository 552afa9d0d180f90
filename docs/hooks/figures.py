"""Draws the figures of the pages as SVG, in the colours of the page; adds those of benchmarks."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Bytes of state after 8,192 tokens: benchmarks/README.md, "Beside other architectures".
_STATES = (
    ("MM-Rec", "#00897b", 67_592),
    ("xLSTM", "#8e24aa", 33_856),
    ("Mamba2", "#8e24aa", 460_800),
    ("RecurrentGemma", "#8e24aa", 530_176),
    ("Qwen3-Next", "#8e24aa", 2_158_592),
    ("Qwen3 (attention)", "#e64a19", 16_777_216),
)
# Tokens per second in training beside attention in torch, 1.4 M parameters: "Training speed".
_SPEEDS = ((256, 0.75), (1024, 0.98), (4096, 1.88), (16384, 5.2))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pictures that benchmarks have drawn."""
    for path in (Path(config.config_file_path).parent / "benchmarks" / "pictures").glob("*.png"):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts a figure where a page says `<!-- figure: NAME -->`."""
    return re.sub(r"<!-- figure: (\w+) -->", lambda found: _FIGURES[found[1]](), markdown)


def _block() -> str:
    """What one block does, from its input to its output."""
    boxes = [
        (10, 150, 110, "norm", "u = norm(x)"),
        (150, 150, 180, "HEM", "one product: all projections"),
        (370, 60, 220, "short-term memory h", "a gated recurrence: it sees itself"),
        (370, 240, 220, "long-term memory M", "gated delta rule, read by queries"),
        (630, 150, 120, "out", "· silu(g), W_out"),
        (780, 150, 130, "SwiGLU", "norm, feed-forward"),
    ]
    arrows = [
        (120, 180, 150, 180),
        (330, 170, 370, 100),
        (330, 190, 370, 260),
        (590, 90, 630, 165),
        (590, 270, 630, 195),
        (480, 120, 480, 240),
        (750, 180, 780, 180),
    ]
    parts = [_arrow(*arrow) for arrow in arrows]
    for x, y, width, name, note in boxes:
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="60" rx="8" fill="none" '
            'stroke="#00897b" stroke-width="2"/>'
        )
        parts.append(_text(x + width / 2, y + 26, name, size=15, weight=600))
        parts.append(_text(x + width / 2, y + 46, note, size=10.5))
    parts.append(_text(480, 38, "state in, state out: [E] per layer", size=12))
    parts.append(_text(480, 325, "state in, state out: matrices [slots, values]", size=12))
    return _figure(parts, 920, 340, "One block of MM-Rec", "diagram")


def _state() -> str:
    """What a model keeps of a text that it has read."""
    rows = [(name, color, size / 1024) for name, color, size in _STATES]
    return _bars(rows, "KiB of state after 8,192 tokens, models of 1.5 M parameters")


def _speed() -> str:
    """Speed in training beside attention."""
    rows = [(f"T = {length:,}", "#00897b", ratio) for length, ratio in _SPEEDS]
    return _bars(rows, "training speed, times that of attention in torch (16,384: an indication)")


def _bars(rows: Sequence[tuple[str, str, float]], caption: str) -> str:
    top = max(value for *_, value in rows)
    parts = []
    for i, (name, color, value) in enumerate(rows):
        share = max(value / top, 0.006)  # still to be seen
        y = 20 + 44 * i
        parts.append(_text(150, y + 20, name, size=14, anchor="end"))
        parts.append(
            f'<rect x="165" y="{y}" width="{360 * share:.0f}" height="28" rx="4" fill="{color}"/>'
        )
        shown = f"{value:,.0f}" if value >= 10 else f"{value:g}"
        parts.append(_text(173 + 360 * share, y + 20, shown, size=14, anchor="start"))
    return _figure(parts, 620, 30 + 44 * len(rows), caption)


def _figure(parts: Iterable[str], width: int, height: int, caption: str, kind: str = "") -> str:
    wide = f' style="min-width: {width * 0.7:.0f}px"' if kind else ""
    svg = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{caption}"{wide} '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
    return f'<figure class="{kind}">{svg}<figcaption>{caption}</figcaption></figure>'


def _text(
    x: float, y: float, text: str, *, size: float, weight: int = 400, anchor: str = "middle"
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="currentColor">{text}</text>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    head = (
        f"{x2:.1f},{y2:.1f} {x2 - 8 * dx + 4 * dy:.1f},{y2 - 8 * dy - 4 * dx:.1f} "
        f"{x2 - 8 * dx - 4 * dy:.1f},{y2 - 8 * dy + 4 * dx:.1f}"
    )
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2 - 6 * dx:.1f}" y2="{y2 - 6 * dy:.1f}" '
        f'stroke="currentColor"/><polygon points="{head}" fill="currentColor"/>'
    )


_FIGURES = {"block": _block, "state": _state, "speed": _speed}
