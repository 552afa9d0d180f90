"""What `finetuning.py` measured, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.markdown import header, row
from benchmarks.run_log import Record, bits


def methods_table(runs: Mapping[tuple[str, bool], Sequence[Record]]) -> list[str]:
    """One row a method, without and with NEFTune; its runs differ in their seeds alone."""
    first = next(iter(runs.values()))[0]
    before = first["metrics"]["bits_per_byte_before"]
    lines = header(
        [
            "method",
            "NEFTune",
            "learning rate",
            "held-out bits/byte by seed",
            "mean",
            "chrF by seed",
            "mean",
            "checkpoint, MB",
            "processor seconds",
        ]
    )
    for (method, neftune), records in runs.items():
        scores = [record["metrics"]["chrf"] for record in records]
        lines.append(
            row(
                [
                    method,
                    "yes" if neftune else "no",
                    f"{records[0]['lr']:g}",
                    ", ".join(f"{bits(record):.4f}" for record in records),
                    f"{statistics.fmean(map(bits, records)):.4f}",
                    ", ".join(f"{score:.2f}" for score in scores),
                    f"{statistics.fmean(scores):.2f}",
                    f"{records[0]['checkpoint_bytes'] / 1e6:.1f}",
                    f"{statistics.median(record['cpu_seconds'] for record in records):,.0f}",
                ]
            )
        )
    return [f"The base before fine-tuning: {before:.4f} bits/byte.", "", *lines]
