"""`mmrec data prepare`: from sources of text to shards of tokens, in a bounded memory.

The chunks of all files are read in their order, tokenised by worker processes, and written in their
order, so that the shards do not depend on who tokenised what. At the end of each shard the journal
is brought up to date: whatever ends the process, the next one begins there.
"""

import dataclasses
import hashlib
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from mmrec_jax.data.formats.chunk import CHUNK_BYTES, Chunk
from mmrec_jax.data.formats.refusals import OnError
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.prepared.encoded_chunk import EncodedChunk, token_dtype
from mmrec_jax.data.prepared.journal import Journal, Place
from mmrec_jax.data.prepared.manifest import TOKENIZER, Manifest
from mmrec_jax.data.prepared.memory import MB, affordable_workers, total_memory, worker_bytes
from mmrec_jax.data.prepared.memory_watch import INTERVAL, MemoryWatch
from mmrec_jax.data.prepared.output_folder import OutputFolder
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.step_writer import StepWriter, most_documents, step_bytes
from mmrec_jax.data.prepared.tally import REASONS, total_counts
from mmrec_jax.data.prepared.worker_pool import WorkerPool
from mmrec_jax.data.quality.duplicates import Duplicates
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Done of the sources' bytes, all of them, tokens so far in this session
Progress = Callable[[int, int, int], None]

_IN_FLIGHT_SHARE = 0.1  # of the budget may be texts that wait for a worker


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a preparation may use; the shards do not depend on it.

    Attributes:
      workers: processes that tokenise; 0: this one does.
      ram_mb: megabytes that all processes together may take.
    """

    workers: int = 2
    ram_mb: float = 1500


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A preparation that is complete.

    Attributes:
      manifest: what was written.
      done_before: whether there was nothing left to do.
      workers: how many there were.
      peak_bytes: the most memory that was seen; 0 where the system does not say.
    """

    manifest: Manifest
    done_before: bool = False
    workers: int = 0
    peak_bytes: int = 0


def prepare_text(
    out: Path,
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    settings: PrepareSettings,
    resources: Resources,
    *,
    on_error: OnError = "stop",
    fresh: bool = False,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Prepares sources into a folder, or continues to.

    Args:
      out: the folder.
      sources: the text.
      tokenizer: is saved in the folder, too.
      settings: what else decides the result.
      resources: what it may use.
      on_error: "skip" leaves out records that cannot be read, counts and lists them.
      fresh: remove what was prepared in the folder before.
      progress: is told after each chunk.

    Raises:
      UserError: the folder is another's, a source cannot be read, no text is left, the memory does
        not suffice, or the disk is full; what is complete by then is kept.
    """
    identity = {
        **settings.record(),
        "tokenizer": tokenizer.fingerprint,
        "sources": [[source.name, source.identity] for source in sources],
    }
    with OutputFolder(out) as folder:
        if manifest := folder.finished(identity, fresh):
            return Outcome(manifest, done_before=True)
        try:
            journal = folder.begin(identity, fresh)
            tokenizer.save(out / TOKENIZER)
            run = _Run(out, sources, tokenizer, settings, resources, journal)
            outcome = run.finish(on_error, progress)
            folder.finished(identity, fresh=False)  # removes what only a continuation needs
        except OSError as error:
            raise UserError(
                f"--out {out}: {error.strerror or error}; what is complete is kept, and the same "
                "command continues"
            ) from None
    return outcome


class _Run:
    def __init__(
        self,
        out: Path,
        sources: Sequence[Source],
        tokenizer: Tokenizer,
        settings: PrepareSettings,
        resources: Resources,
        journal: Journal,
    ) -> None:
        self._out = out
        self._sources = sources
        self._tokenizer = tokenizer
        self._settings = settings
        self._journal = journal
        self._begins: list[list[int]] = []  # of each source: where its files begin, and their end
        for each in sources:
            before = self._begins[-1][-1] if self._begins else 0
            sizes = (file.size for file in each.files)
            self._begins.append(list(itertools.accumulate(sizes, initial=before)))
        self._budget = resources.ram_mb * MB
        size = len(tokenizer.content)
        own = total_memory(())
        self._workers = affordable_workers(resources.workers, self._budget, own, size)
        self._in_flight_bytes = _IN_FLIGHT_SHARE * self._budget
        self._read_ahead = 2 * max(1, self._workers)
        taken = own + self._workers * worker_bytes(size) + self._in_flight_bytes
        taken += step_bytes(settings.dedup)
        self._tables = max(0, int(self._budget - taken))

    def finish(self, on_error: OnError, progress: Progress) -> Outcome:
        """Does what is left to do."""
        duplicates = self._known_duplicates()
        settings = self._settings
        writer = StepWriter(
            self._out,
            self._journal,
            len(self._sources),
            duplicates,
            settings.validation_fraction,
            settings.shard_mb * MB,
            most_documents(settings.dedup),
        )
        folder = self._out / TOKENIZER
        tokens = 0
        try:
            with WorkerPool(self._workers, folder, settings, on_error) as pool:
                watch = MemoryWatch(self._budget, lambda: pool.pids, lambda: self._shrink(pool))
                place, total = self._journal.place, self._bytes_before((len(self._sources), 0, 0))
                progress(self._bytes_before(place), total, 0)
                for place, encoded in self._encoded(pool, watch):
                    writer.add(place[0], encoded)
                    if writer.full:
                        writer.commit(place)
                    tokens += len(encoded.tokens)
                    progress(self._bytes_before(place), total, tokens)
                if writer.pending:
                    writer.commit(place)
        finally:
            writer.discard()
        manifest = self._manifest(writer)
        manifest.write(self._out)
        return Outcome(manifest, workers=self._workers, peak_bytes=watch.peak)

    def _encoded(
        self, pool: WorkerPool, watch: MemoryWatch
    ) -> Iterator[tuple[Place, EncodedChunk]]:
        """Each chunk that is left, encoded, with the place behind it, in order."""
        waiting: deque[tuple[Place, int, Future[EncodedChunk]]] = deque()
        in_flight = 0

        def take() -> tuple[Place, EncodedChunk]:
            nonlocal in_flight
            place, size, future = waiting.popleft()
            in_flight -= size
            while True:
                watch.look()
                try:
                    return place, future.result(INTERVAL)
                except TimeoutError:
                    continue

        for place, chunk in self._chunks():
            while waiting and (
                len(waiting) >= self._read_ahead or in_flight + chunk.size > self._in_flight_bytes
            ):
                yield take()
            waiting.append((place, chunk.size, pool.submit(chunk)))
            in_flight += chunk.size
        while waiting:
            yield take()

    def _chunks(self) -> Iterator[tuple[Place, Chunk]]:
        """Each chunk that is left, with the place behind it."""
        source_begun, file_begun, chunk_begun = self._journal.place
        for s, source in enumerate(self._sources[source_begun:], source_begun):
            skip = file_begun if s == source_begun else 0
            for f, file in enumerate(source.files[skip:], skip):
                first = chunk_begun if (s, f) == (source_begun, file_begun) else 0
                for chunk in file.chunks(first):
                    yield (s, f, chunk.number + 1), chunk

    def _shrink(self, pool: WorkerPool) -> bool:
        """Reads less ahead, or ends a worker."""
        if self._read_ahead > 1:
            self._read_ahead = 1
            return True
        return pool.retire()

    def _bytes_before(self, place: Place) -> int:
        """How much of the files stands before a place; about, inside of a file."""
        source, file, chunk = place
        if source == len(self._sources):
            return self._begins[-1][-1]
        begins = self._begins[source]
        return min(begins[file] + chunk * CHUNK_BYTES, begins[min(file + 1, len(begins) - 1)])

    def _known_duplicates(self) -> Duplicates:
        """The table of duplicates as it was at the end of the last step."""
        duplicates = Duplicates(self._settings.dedup, self._tables, "--ram-mb")
        for entry in self._journal.keys:
            path = self._out / entry["file"]
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                data = b""
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise UserError(f"{path}: this file is missing or damaged; --fresh begins anew")
            duplicates.remember(np.load(io.BytesIO(data)))
        return duplicates

    def _manifest(self, writer: StepWriter) -> Manifest:
        """What was written.

        Raises:
          UserError: one of the splits is empty.
        """
        journal, settings = self._journal, self._settings
        if not journal.shards["train"] and not journal.shards["validation"]:
            counts = total_counts(writer.records())
            left_out = [f"{counts[name]:,} {name}" for name in REASONS if counts[name]]
            raise UserError(
                f"--source: no document of {', '.join(s.name for s in self._sources)} is left; "
                f"{counts['read']:,} were read: {', '.join(left_out) or 'none'}"
            )
        for split, rule in (("train", "lower it"), ("validation", self._enough())):
            if not journal.shards[split]:
                raise UserError(
                    f"--validation-fraction is {settings.validation_fraction}, and that leaves no "
                    f"document for {split} of this little text; {rule}, with --fresh"
                )
        return Manifest(
            dtype=token_dtype(self._tokenizer.vocab_size).str,
            tokenizer=self._tokenizer.fingerprint,
            vocab_size=self._tokenizer.vocab_size,
            settings=settings.record(),
            sources=[
                {
                    "name": source.name,
                    "identity": source.identity,
                    "files": len(source.files),
                    "bytes": sum(file.size for file in source.files),
                }
                for source in self._sources
            ],
            shards=journal.shards,
            skipped=journal.skipped,
            tallies=writer.records(),
        )

    def _enough(self) -> str:
        return f"one above {self._journal.lowest_share:.2g} holds out at least one"
