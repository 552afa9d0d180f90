"""What a preparation writes between two of its commits: a shard of each split, and its lists."""

import contextlib
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.prepared.encoded_chunk import EncodedChunk
from mmrec_jax.data.prepared.journal import Journal, Place
from mmrec_jax.data.prepared.shard_writer import ShardWriter
from mmrec_jax.data.prepared.tally import KEPT, SourceTally
from mmrec_jax.data.quality.duplicates import Dedup, Duplicates, num_keys

# Of a step: what is kept of each in memory is bounded by it.
_MAX_DOCUMENTS, _MAX_KEYS = 1 << 19, 1 << 21
_ROW_BYTES, _KEY_BYTES = 24, 8
_COPIES = 3  # as they came, in one array, and as the bytes of a file


def most_documents(dedup: Dedup) -> int:
    """After how many documents a step is full at the latest."""
    return min(_MAX_DOCUMENTS, _MAX_KEYS // max(1, num_keys(dedup)))


def step_bytes(dedup: Dedup) -> int:
    """The most memory that the documents' keys and rows of a step take."""
    return _COPIES * most_documents(dedup) * (_ROW_BYTES + _KEY_BYTES * num_keys(dedup))


class StepWriter:
    """Takes encoded chunks in their order until the step is full.

    Attributes:
      pending: whether anything came since the last commit.
    """

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        num_sources: int,
        duplicates: Duplicates,
        validation_fraction: float,
        shard_bytes: float,
        max_documents: int,
    ) -> None:
        """Begins the step that the journal says.

        Args:
          folder: where the files go.
          journal: is brought up to date by `commit`.
          num_sources: how many sources there are.
          duplicates: what was kept so far.
          validation_fraction: share of the documents that are held out.
          shard_bytes: tokens at which the step is full.
          max_documents: at which it is full, too; of records that could not be read likewise.
        """
        self._folder = folder
        self._journal = journal
        self._duplicates = duplicates
        self._fraction = validation_fraction
        self._shard_bytes = shard_bytes
        self._max_documents = max_documents
        records = journal.tallies or [{}] * num_sources
        self._tallies = [SourceTally(record) for record in records]
        self._begin()

    def _begin(self) -> None:
        step = self._journal.steps
        self._writers = {split: ShardWriter(self._folder, f"{split}-{step:05d}") for split in KEPT}
        self._keys: list[NDArray[np.uint64]] = []
        self._refused: list[str] = []
        self.pending = False

    @property
    def full(self) -> bool:
        """Whether it is time to commit."""
        documents = sum(writer.num_documents for writer in self._writers.values())
        return (
            self._writers["train"].num_bytes >= self._shard_bytes
            or max(documents, len(self._refused)) >= self._max_documents
        )

    def add(self, source: int, encoded: EncodedChunk) -> None:
        """Writes the documents of a chunk of a source that are no duplicates.

        Raises:
          UserError: the tables of duplicates are full.
          OSError: the files cannot be written.
        """
        self.pending = True
        tally = self._tallies[source]
        tally.add_read(encoded)
        self._refused += encoded.refused
        verdicts = self._duplicates.admit(encoded.keys)
        tally.add_left_out([verdict for verdict in verdicts if verdict])
        kept = np.array([verdict is None for verdict in verdicts], np.bool_)
        if not kept.any():
            return
        self._journal.lowest_share = min(
            self._journal.lowest_share, float(encoded.shares[kept].min())
        )
        if encoded.keys.shape[1]:
            self._keys.append(encoded.keys[kept])
        held_out = encoded.shares < self._fraction
        lengths = encoded.documents[:, 0]
        for split, chosen in (("train", kept & ~held_out), ("validation", kept & held_out)):
            if chosen.any():
                rows = encoded.documents[chosen]
                self._writers[split].add(encoded.tokens[np.repeat(chosen, lengths)], rows)
                tally.add_kept(split, rows)

    def commit(self, place: Place) -> None:
        """Completes the step's files, and the journal: the next step begins at `place`.

        Raises:
          OSError: they cannot be written.
        """
        journal, step = self._journal, self._journal.steps
        for split, writer in self._writers.items():
            if entry := writer.close():
                journal.shards[split].append(entry)
        if self._keys:
            stream = io.BytesIO()
            np.save(stream, np.concatenate(self._keys))
            name = f"keys-{step:05d}.npy"
            replace_file(self._folder / name, stream.getvalue())
            digest = hashlib.sha256(stream.getbuffer()).hexdigest()
            journal.keys.append({"file": name, "sha256": digest})
        if self._refused:
            name = f"skipped-{step:05d}.txt"
            lines = "".join(line + "\n" for line in self._refused)
            replace_file(self._folder / name, lines.encode("utf-8", "surrogateescape"))
            journal.skipped["records"] += len(self._refused)
            journal.skipped["files"].append(name)
        journal.tallies = self.records()
        journal.place = place
        journal.steps = step + 1
        journal.write(self._folder)
        self._begin()

    def records(self) -> list[dict[str, Any]]:
        """`SourceTally.record` of each source."""
        return [tally.record() for tally in self._tallies]

    def discard(self) -> None:
        """Removes what was written since the last commit."""
        with contextlib.ExitStack() as all_of_them:
            for writer in self._writers.values():
                all_of_them.callback(writer.discard)
