"""The last step: what all tasks wrote, without copies, as one array of each split."""

import contextlib
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.pipeline.base import PipelineStep
from numpy.typing import NDArray

from mmrec_jax.data.prepare.duplicates import later_copies, near_copies
from mmrec_jax.data.prepare.manifest import ARRAYS, SHARE_UNIT, SHARES, SPLITS, Manifest
from mmrec_jax.data.prepare.steps import COLUMNS
from mmrec_jax.errors import UserError

_FILES = {**ARRAYS, SHARES: "<i8"}  # of a split, and what they hold
_BLOCK_TOKENS = 1 << 22  # copied at a time
_EXAMPLES = 5  # of each reason to leave out


class JoinTokens(PipelineStep):
    """Writes the arrays of both splits, and the manifest last."""

    type = "WRITER"
    name = "join"

    def __init__(self, out: Path, work: Path, identity: dict[str, Any]) -> None:
        """`work` has what the tasks wrote: "parts", "tallies", "removals"."""
        super().__init__()
        self.out, self.work, self.identity = out, work, identity

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """See `PipelineStep.run`.

        Raises:
          UserError: no document is left to train on.
          OSError: the files cannot be written.
        """
        yield from ()
        paths = sorted((self.work / "parts").glob("*.table"))
        tables = [_read_table(path) for path in paths]
        kept = self._kept(paths, tables)
        counts, languages, examples = self._tallies()
        counts["duplicate"] = sum(int(np.sum(~each)) for each in kept)
        held = self._held_out(tables, kept)
        if not any(np.any(each & ~out) for each, out in zip(kept, held, strict=True)):
            reasons = [f"{count:,} {name}" for name, count in counts.items() if count]
            listed = ", ".join(reasons) or "none was read"
            names = ", ".join(name for name, _ in self.identity["sources"])
            raise UserError(
                f"{names}: no document is left to train on ({listed}); give more text, or other "
                "options with --fresh"
            )
        splits = {}
        for split, wanted in zip(SPLITS, (False, True), strict=True):
            with contextlib.ExitStack() as closing:
                writer = _SplitWriter(self.out / split, closing)
                for path, table, keep, out in zip(paths, tables, kept, held, strict=True):
                    writer.add(path.with_suffix(".tokens"), table, keep & (out == wanted))
                splits[split] = writer.finish()
        Manifest(self.identity, splits, dict(counts), dict(languages), examples).write(self.out)

    def _kept(self, paths: list[Path], tables: list[NDArray[np.int64]]) -> list[NDArray[np.bool_]]:
        """Of each task which documents are no copies."""
        if self.identity["dedup"] == "minhash":
            removals = self.work / "removals"
            return [
                ~near_copies(removals, int(path.stem), len(table))
                for path, table in zip(paths, tables, strict=True)
            ]
        copies = np.zeros(sum(map(len, tables)), np.bool_)
        if self.identity["dedup"] == "exact":
            copies = later_copies(np.concatenate([table[:, 4] for table in tables]))
        return np.split(~copies, np.cumsum([len(table) for table in tables])[:-1])

    def _held_out(
        self, tables: list[NDArray[np.int64]], kept: list[NDArray[np.bool_]]
    ) -> list[NDArray[np.bool_]]:
        """Of each task which documents are held out: those below the fraction, or the lowest."""
        fraction = self.identity["validation_fraction"]
        shares = [table[:, 3][keep] for table, keep in zip(tables, kept, strict=True)]
        lowest = min((int(each.min()) for each in shares if len(each)), default=0)
        bound = max(int(fraction * SHARE_UNIT), lowest + 1) if fraction else 0
        return [table[:, 3] < bound for table in tables]

    def _tallies(self) -> tuple[Counter[str], Counter[str], dict[str, list[str]]]:
        counts: Counter[str] = Counter()
        languages: Counter[str] = Counter()
        examples: dict[str, list[str]] = {}
        for path in sorted((self.work / "tallies").glob("*.json")):
            record = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
            counts.update(record["counts"])
            languages.update(record["languages"])
            for reason, listed in record["examples"].items():
                known = examples.setdefault(reason, [])
                known += listed[: _EXAMPLES - len(known)]
        return counts, languages, examples


def _read_table(path: Path) -> NDArray[np.int64]:
    """What `EncodeDocuments` wrote, [documents, COLUMNS], memory-mapped."""
    empty = np.zeros(0, np.int64)
    table = np.memmap(path, "<i8", "r") if path.stat().st_size else empty
    return table.reshape(-1, COLUMNS)


class _SplitWriter:
    """The files of one split, which `closing` closes."""

    def __init__(self, folder: Path, closing: contextlib.ExitStack) -> None:
        folder.mkdir(exist_ok=True)
        files = {name: (folder / name).open("wb") for name in _FILES}
        self._files = {name: closing.enter_context(file) for name, file in files.items()}
        self._digests = {name: hashlib.sha256() for name in _FILES}
        self._totals = np.zeros(4, np.int64)
        self._documents = 0
        self._write("offsets", np.zeros(1, np.int64))

    def add(self, path: Path, table: NDArray[np.int64], chosen: NDArray[np.bool_]) -> None:
        """Adds some of the documents of a task."""
        if not chosen.any():
            return
        tokens = np.memmap(path, "<i4", "r")
        ends = np.cumsum(table[:, 0])
        blocks = np.searchsorted(ends, np.arange(0, ends[-1], _BLOCK_TOKENS)[1:]).tolist()
        for first, last in itertools.pairwise([0, *blocks, len(table)]):
            rows, mask = table[first:last], chosen[first:last]
            begin = int(ends[first - 1]) if first else 0
            block = tokens[begin : begin + int(rows[:, 0].sum())]
            self._write("tokens", block if mask.all() else block[np.repeat(mask, rows[:, 0])])
        documents = table[chosen]
        self._write("offsets", self._totals[0] + np.cumsum(documents[:, 0]))
        self._write("byte_counts", documents[:, 1])
        self._write("character_counts", documents[:, 2])
        self._write(SHARES, documents[:, 3])
        self._totals += documents[:, [0, 1, 2, 5]].sum(axis=0)
        self._documents += len(documents)

    def finish(self) -> dict[str, Any]:
        """Sees the files onto the disk; the entry of the manifest."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        names = ("tokens", "bytes", "characters", "unspelled_bytes")
        return {
            "documents": self._documents,
            **dict(zip(names, self._totals.tolist(), strict=True)),
            "sha256": {name: digest.hexdigest() for name, digest in self._digests.items()},
        }

    def _write(self, name: str, values: NDArray[Any]) -> None:
        data = values.astype(_FILES[name], copy=False).tobytes()
        self._files[name].write(data)
        self._digests[name].update(data)
