"""`mmrec data prepare`: from sources of text to arrays of tokens, in a bounded memory.

Tasks each read a share of the files, tokenise it and write a part (`steps`); near duplicates are
looked for over all parts (`duplicates`); one last task joins the parts without copies (`join`). The
result depends on the files and the settings alone. Which tasks are done is noted in the folder: the
same command continues where the last one ended, however it did.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.files.reading import Reading, Source
from mmrec_jax.data.prepare.document_filter import language_identifier
from mmrec_jax.data.prepare.duplicates import NearSignature, near_stages
from mmrec_jax.data.prepare.executors import ExecutorKind, Runner, quiet
from mmrec_jax.data.prepare.join import JoinTokens
from mmrec_jax.data.prepare.manifest import (
    IDENTITY,
    MANIFEST,
    SPLITS,
    TOKENIZER,
    Manifest,
    read_manifest,
    require_identity,
)
from mmrec_jax.data.prepare.memory import MB, MemoryWatch, affordable_workers
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.prepare.steps import ReadDocuments, SelectDocuments, WriteTokens
from mmrec_jax.data.prepare.tasks import deal_tasks, source_hash
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_WORK, _LOGS = "work", "logs"
_OURS = re.compile(
    rf"{_WORK}|{_LOGS}|{TOKENIZER}|{IDENTITY}|{MANIFEST}|{'|'.join(SPLITS)}|report\.(md|json)"
    r"|\..+\.\d+\.tmp"
)
# Tasks that are done, and all
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a preparation may use; the result does not depend on it.

    Attributes:
      workers: tasks that run at once; one alone, in this process.
      ram_mb: megabytes that all processes together may take; with Ray and Slurm, whose processes
        are not watched, the tasks that run at once ask for so many.
      executor: who runs the tasks.
      slurm: "partition" and "time" of Slurm's jobs.
    """

    workers: int = 1
    ram_mb: float = 1500
    executor: ExecutorKind = "local"
    slurm: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a preparation.

    Attributes:
      manifest: what was written; None: Slurm has it to do.
      done_before: whether there was nothing left to do.
      workers: how many there were.
      peak_bytes: the most memory that was seen.
      seconds: how long it took.
    """

    manifest: Manifest | None
    done_before: bool = False
    workers: int = 0
    peak_bytes: float = 0
    seconds: float = 0


def prepare_text(
    out: Path,
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    settings: PrepareSettings,
    resources: Resources,
    *,
    stop: bool = True,
    fresh: bool = False,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Prepares sources into a folder, or continues to. Runs in the main thread.

    Args:
      out: the folder.
      sources: the text.
      tokenizer: is saved in the folder, too.
      settings: what else decides the result.
      resources: what it may use.
      stop: whether a record that cannot be read ends it; otherwise it is left out and counted.
      fresh: remove what was prepared in the folder before.
      progress: is told now and then, from another thread.

    Raises:
      UserError: the folder is another's, a source cannot be read, no text is left, the memory does
        not suffice, or the disk is full; what is complete by then is kept.
    """
    if settings.language:
        language_identifier(settings.language)
    identity = {
        **settings.record(),
        "tokenizer": tokenizer.fingerprint,
        "sources": [[source.name, source_hash(source)] for source in sources],
    }
    with _locked(out):
        _require_own(out)
        if fresh:
            _clear(out)
        if (out / MANIFEST).exists():
            manifest = read_manifest(out, "--out")
            require_identity(manifest.identity, identity, out)
            shutil.rmtree(out / _WORK, ignore_errors=True)
            return Outcome(manifest, done_before=True)
        try:
            _begin(out, identity)
            tokenizer.save(out / TOKENIZER)
            workers = affordable_workers(
                resources.workers,
                resources.ram_mb * MB,
                len(tokenizer.content),
                bool(settings.language),
            )
            return _run(out, identity, sources, settings, resources, workers, stop, progress)
        except OSError as error:
            where = error.filename or f"--out {out}"
            raise UserError(
                f"{where}: {error.strerror or error}; what is complete is kept, and the same "
                "command continues"
            ) from None


def _run(
    out: Path,
    identity: dict[str, Any],
    sources: Sequence[Source],
    settings: PrepareSettings,
    resources: Resources,
    workers: int,
    stop: bool,
    progress: Progress,
) -> Outcome:
    begun = time.monotonic()
    work = out / _WORK
    parts, tallies, signatures, pairs, removals = (
        work / name for name in ("parts", "tallies", "signatures", "pairs", "removals")
    )
    for folder in (parts, tallies):
        folder.mkdir(parents=True, exist_ok=True)
    reading = Reading(settings.documents, settings.field, settings.max_record_mb << 20)
    tasks = deal_tasks(sources, reading)
    select = SelectDocuments(settings, out / TOKENIZER, stop, tallies)
    encode = [ReadDocuments(tasks, reading), select, WriteTokens(parts, settings.dedup == "exact")]
    stages: list[tuple[str, list[Any], int]] = [("encode", encode, len(tasks))]
    if settings.dedup == "minhash":
        encode.append(NearSignature(signatures))
        near = near_stages(signatures, pairs, removals)
        stages += [(name, [step], count) for name, step, count in near]
    stages.append(("join", [JoinTokens(out, work, identity)], 1))
    logs = out / _LOGS

    def tell() -> None:
        done = sum(len(list((logs / name / "completions").glob("*"))) for name, _, _ in stages)
        progress(done, sum(count for _, _, count in stages))

    watched = resources.ram_mb * MB if resources.executor == "local" else float("inf")
    watch = MemoryWatch(watched, tell)
    with quiet(logs), watch.watch():
        each = resources.ram_mb / workers
        runner = Runner(resources.executor, workers, each, logs, dict(resources.slurm))
        for name, steps, count in stages:
            runner.run(name, steps, count)
        complete = runner.finish()
    if not complete:
        return Outcome(None, workers=workers)
    shutil.rmtree(work, ignore_errors=True)
    seconds = time.monotonic() - begun
    return Outcome(read_manifest(out, "--out"), False, workers, watch.peak, seconds)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Makes the folder if needed and keeps other processes from it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"--out {out}: another process is preparing into it") from None
        except OSError as error:
            raise UserError(f"--out {out}: it cannot be locked: {error.strerror}") from None
        yield
    finally:
        os.close(descriptor)


def _require_own(out: Path) -> None:
    for name in sorted(os.listdir(out)):
        if not _OURS.fullmatch(name):
            raise UserError(f"--out {out} holds something else ({name}); name a new folder")


def _begin(out: Path, identity: dict[str, Any]) -> None:
    """Notes what the folder is for, or sees that it is for this."""
    path = out / IDENTITY
    if path.exists():
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            raise UserError(f"{path}: this file is damaged; --fresh begins anew") from None
        require_identity(found, identity, out)
        return
    if left := [name for name in sorted(os.listdir(out)) if not name.startswith(".")]:
        raise UserError(f"--out {out} holds {left[0]} but no {IDENTITY}; --fresh begins anew")
    replace_file(path, json.dumps(identity, indent=1).encode())


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
