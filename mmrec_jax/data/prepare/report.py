"""What became of the documents of a preparation: tables of what a manifest holds."""

import json
from pathlib import Path
from typing import Any

from mmrec_jax.data.prepare.manifest import SPLITS, Manifest

# Counts that are of something else than documents that were left out.
_CHANGES = {
    "control_characters": "control characters left out",
    "format_characters": "soft hyphens and characters without width left out",
    "broken_characters": "U+FFFD and letters that were decoded wrongly",
}


def left_out(manifest: Manifest) -> dict[str, int]:
    """How many documents were left out, by the reason."""
    return {
        name: count
        for name, count in sorted(manifest.counts.items())
        if count and name != "read" and name not in _CHANGES
    }


def report_markdown(folder: Path, manifest: Manifest) -> str:
    """The report as text; `folder` is its title."""
    counts, read = manifest.counts, max(1, manifest.counts["read"])
    settings = {
        name: value
        for name, value in manifest.identity.items()
        if name not in ("tokenizer", "sources")
    }
    documents = {"read": counts["read"]}
    documents |= {split: manifest.splits[split]["documents"] for split in SPLITS}
    documents |= left_out(manifest)
    parts = [
        f"# {folder}",
        ", ".join(name for name, _ in manifest.identity["sources"]),
        ", ".join(f"{name} {value!r}" for name, value in settings.items()),
        "## Documents\n\nThose read are those kept and those left out for each of the reasons.",
        _table([[name, f"{n:,}", f"{n / read:.2%}"] for name, n in documents.items()]),
        "## Characters",
        _table([[words, f"{counts.get(name, 0):,}"] for name, words in _CHANGES.items()]),
        "## Kept",
        _table(
            [
                ["", "tokens", "bytes", "characters", "bytes/token"],
                *(_kept(split, manifest.splits[split]) for split in SPLITS),
            ]
        ),
    ]
    if manifest.languages:
        asked = sum(manifest.languages.values())
        ranked = sorted(manifest.languages.items(), key=lambda item: (-item[1], item[0]))
        rows = [[name, f"{n:,}", f"{n / asked:.2%}"] for name, n in ranked]
        parts += ["## Languages", _table(rows)]
    if manifest.examples:
        parts.append("## Examples of what was left out")
        for reason, listed in sorted(manifest.examples.items()):
            lines = [f"* {json.dumps(each, ensure_ascii=False)}" for each in listed]
            parts.append("\n".join([f"{reason}:\n", *lines]))
    return "\n\n".join(parts) + "\n"


def _kept(split: str, entry: dict[str, Any]) -> list[str]:
    numbers = [f"{entry[name]:,}" for name in ("tokens", "bytes", "characters")]
    return [split, *numbers, f"{entry['bytes'] / max(1, entry['tokens']):.2f}"]


def _table(rows: list[list[str]]) -> str:
    if rows[0][0]:
        rows = [[""] * len(rows[0]), *rows]
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
