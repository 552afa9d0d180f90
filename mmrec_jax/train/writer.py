"""What a run leaves behind while it trains: `metrics.jsonl` and TensorBoard events."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tensorboardX import SummaryWriter

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.processes import is_process_zero


class MetricsWriter:
    """Appends one JSON object a line, `{"step": ..., "split": ..., ...}`, flushed at once.

    On a resume, lines later than the checkpoint (and a line cut off by a kill) are removed first:
    those steps are about to be computed again. Of several processes the first one writes.
    """

    def __init__(self, workdir: Workdir, *, resume_step: int) -> None:
        """Opens the files under `workdir`, keeping what was written up to `resume_step`."""
        path = workdir.metrics if is_process_zero() else Path(os.devnull)
        if is_process_zero():
            before = read_metrics(path) if resume_step else []
            kept = [line for line in before if line["step"] <= resume_step]
            replacement = path.with_suffix(".partial")
            replacement.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
            replacement.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(
            str(workdir.tensorboard),
            purge_step=resume_step + 1 if resume_step else None,
            write_to_disk=is_process_zero(),
        )

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """Writes one line, null for what is not finite (JSON has no word for it); and an event."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "split": split, **finite}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def write_histograms(
        self, step: int, split: str, histograms: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]
    ) -> None:
        """Writes events alone: for each name the edges of the bins, and how many are in each."""
        for name, (edges, counts) in histograms.items():
            middle = (edges[:-1] + edges[1:]) / 2
            self._events.add_histogram_raw(
                f"{split}/{name}",
                min=float(edges[0]),
                max=float(edges[-1]),
                num=float(counts.sum()),
                sum=float(counts @ middle),
                sum_squares=float(counts @ middle**2),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=counts.tolist(),
                global_step=step,
            )

    def close(self) -> None:
        """Flushes and closes both files."""
        self._file.close()
        self._events.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of `metrics.jsonl`, in order; empty if there is none."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break  # cut off by a kill: nothing after it is complete
    return lines
