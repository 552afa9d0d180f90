"""What an adaptation gained and what it cost, as `report.json` and as a page, `report.html`.

The page needs nothing beside itself: no script, no font, no request. Each number that it shows is
in `report.json`, and its element says which: `value` of a <data>, `data-value` of a <text>.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.tree import named_leaves

_TEMPLATE = Path(__file__).with_name("report.html")
_LISTS = "headline", "models", "curves", "samples", "stages"
_MOST = 8  # tokens of a word that the picture has a row for; words of more are in the last
_COMPARED = "turkish", "english", "turkish_tokens"  # of a model with the base


# How numbers look, by their kind. The spaces before units do not break.
_FORMATS: dict[str, Callable[[float], str]] = {
    "plain": lambda value: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}",
    "count": "{:,.0f}".format,
    "two": "{:,.2f}".format,
    "bits": "{:.3f}".format,
    "share": lambda value: f"{100 * value:.1f}\xa0%",
    "change": lambda value: f"{100 * value:+,.1f}\xa0%",
    "bytes": lambda value: f"{value / 2**30:,.2f}\xa0GiB",
    "seconds": lambda value: f"{value / 60:,.1f}\xa0min",
}


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Writes `report.json`, then `report.html`, each whole or not at all.

    Args:
      report: plain JSON with a `title`. Any other part may be absent, None or empty (a stage that
        has not been run, a control that is not wanted), and the page is without it then. Headlines
        whose unit is "share", "bytes" or "seconds" are shown as percentages, in GiB, in minutes.
      folder: has to exist. Its `report.json` has beside `report` what follows from it: relative
        changes, from the base or from before, and the time of all stages.

    Raises:
      UserError: a number is not finite, or a file cannot be written.
    """
    report = _with_changes(report)
    for name, leaf in named_leaves(report).items():
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise UserError(f"report: {name} is {leaf}: a stage diverged; lower its learning rate")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = lambda value, kind: _FORMATS[kind](value).replace("-", "−")
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    page = template.render(report, kinds=_FORMATS).encode("utf-8", "replace")
    # Half a surrogate pair, which a model may write, is no UTF-8; in JSON it has an escape.
    text = json.dumps(report, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    replace_file(folder / "report.json", text)
    replace_file(folder / "report.html", page)


def _with_changes(report: dict[str, Any]) -> dict[str, Any]:
    """A copy with what follows from its numbers; lists that it lacks are empty."""

    def change(before: float | None, after: float | None) -> float | None:
        return after / before - 1 if before and after is not None else None

    report = report | {name: report.get(name) or [] for name in _LISTS}
    report["headline"] = [
        item | {"change": change(item.get("before"), item["value"])} for item in report["headline"]
    ]
    models = report["models"]
    base: dict[str, Any] = next((model for model in models if model["name"] == "base"), {})
    report["models"] = [
        model
        if model is base
        else model | {f"{key}_change": change(base.get(key), model.get(key)) for key in _COMPARED}
        for model in models
    ]
    if report.get("tokenizer"):
        texts = [
            text
            | {"change": change(text["before"]["tokens"], text["after"]["tokens"])}
            | {side: text[side] | {"shares": _folded(text[side])} for side in ("before", "after")}
            for text in report["tokenizer"]["texts"]
        ]
        report["tokenizer"] = report["tokenizer"] | {"texts": texts}
    report["total_seconds"] = sum(stage["seconds"] for stage in report["stages"])
    return report


def _folded(counts: dict[str, Any]) -> dict[str, float]:
    shares = {str(number): 0.0 for number in range(1, _MOST)} | {f"{_MOST}+": 0.0}
    for number, share in counts["words_by_tokens"].items():
        shares[number if number in shares else f"{_MOST}+"] += share
    return shares
