"""What became of the documents of a preparation: tables for people and for programs."""

import json
from pathlib import Path
from typing import Any

from mmrec_jax.data.prepared.encoded_chunk import HISTOGRAM
from mmrec_jax.data.prepared.manifest import Manifest
from mmrec_jax.data.prepared.tally import KEPT, REASONS, total_counts

_LISTED = 20  # skipped records


def report_record(manifest: Manifest) -> dict[str, Any]:
    """The report, fit for JSON: the settings, and of each source and of all the counts."""
    tallies = manifest.tallies
    lengths = {
        name: [sum(tally[name][k] for tally in tallies) for k in range(HISTOGRAM)]
        for name in ("read_lengths", "kept_lengths")
    }
    return {
        "settings": manifest.settings,
        "tokenizer": manifest.tokenizer,
        "vocab_size": manifest.vocab_size,
        "sources": [
            {**source, **tally} for source, tally in zip(manifest.sources, tallies, strict=True)
        ],
        "total": {"counts": dict(total_counts(tallies)), **lengths},
        "skipped": manifest.skipped,
    }


def report_markdown(folder: Path, record: dict[str, Any]) -> str:
    """The report as text.

    Args:
      folder: what was prepared, for the title and its lists of skipped records.
      record: `report_record`.
    """
    sources = record["sources"]
    columns = [*(source["counts"] for source in sources), record["total"]["counts"]]
    names = [*(source["name"] for source in sources), "all"]
    settings = ", ".join(f"{name} {value!r}" for name, value in record["settings"].items())
    parts = [
        f"# {folder}",
        f"{settings}; {record['vocab_size']:,} tokens in the vocabulary.",
        "## Documents\n\nThose read are those kept and those left out for each of the reasons.",
        _table(names, columns, ("read", *KEPT, *REASONS), share_of="read"),
        "## Changed\n\nDocuments brought to normal form C or rid of control characters.",
        _table(names, columns, ("composed", "cleaned", "control_characters")),
        "## Kept",
        _table(
            names,
            columns,
            [f"{split}_{unit}" for split in KEPT for unit in ("tokens", "bytes", "characters")],
        ),
        "## Lengths\n\nDocuments by characters.",
        _lengths(record["total"]),
    ]
    if record["skipped"]["records"]:
        parts += [
            f"## Skipped\n\n{record['skipped']['records']:,} in all.",
            _skipped(folder, record),
        ]
    return "\n\n".join(parts) + "\n"


def _table(names: list[str], columns: list[Any], rows: Any, share_of: str = "") -> str:
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = []
        for counts in columns:
            count, whole = counts.get(row, 0), counts.get(share_of, 0)
            share = f" ({count / whole:.2%})" if whole and row != share_of else ""
            cells.append(f"{count:,}{share}")
        lines.append(f"| {row.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _lengths(total: dict[str, Any]) -> str:
    read, kept = total["read_lengths"], total["kept_lengths"]
    used = [k for k in range(HISTOGRAM) if read[k]]
    lines = ["| characters | read | kept |", "|---|---|---|"]
    for k in range(used[0], used[-1] + 1) if used else ():
        lines.append(f"| {2**k:,} to {2 ** (k + 1) - 1:,} | {read[k]:,} | {kept[k]:,} |")
    return "\n".join(lines)


def _skipped(folder: Path, record: dict[str, Any]) -> str:
    listed: list[str] = []
    for name in record["skipped"]["files"]:
        with (folder / name).open(encoding="utf-8", errors="replace") as lines:
            listed += [line.rstrip("\n") for line, _ in zip(lines, range(_LISTED), strict=False)]
    more = record["skipped"]["records"] - len(listed[:_LISTED])
    end = [f"* and {more:,} more in {', '.join(record['skipped']['files'])}"] if more else []
    return "\n".join([*(f"* {line}" for line in listed[:_LISTED]), *end])


def report_json(record: dict[str, Any]) -> bytes:
    """The report as the bytes of a JSON file."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
