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
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tqdm

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.files.reading import Reading, Source
from mmrec_jax.data.prepare import manifest as names
from mmrec_jax.data.prepare.document_filter import language_identifier
from mmrec_jax.data.prepare.duplicates import NearSignature, near_stages
from mmrec_jax.data.prepare.executors import Resources, Stage, quiet, run_stages
from mmrec_jax.data.prepare.join import JoinTokens
from mmrec_jax.data.prepare.manifest import Manifest, read_manifest, require_identity
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.prepare.steps import EncodeDocuments
from mmrec_jax.data.prepare.tasks import deal_tasks
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_WORK, _LOGS = "work", "logs"
_OURS = (_WORK, _LOGS, names.TOKENIZER, names.IDENTITY, names.MANIFEST, *names.SPLITS)
_LEFT_OVER = re.compile(r"\..+\.\d+\.tmp")


def prepare_text(
    out: Path,
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    settings: PrepareSettings,
    resources: Resources,
    *,
    stop: bool = True,
    fresh: bool = False,
) -> Manifest | None:
    """Prepares sources into the folder `out`, or continues to; None: Slurm has it to do.

    With `stop` a record that cannot be read ends it; otherwise it is left out and counted. `fresh`
    removes what was prepared there before.

    Raises:
      UserError: the folder is another's, a source cannot be read, no text is left, nobody knows the
        language, the memory does not suffice, or the disk is full; what is complete by then is
        kept.
    """
    if settings.language:
        language_identifier(settings.language)
    with _locked(out):
        try:
            identity = {
                **dataclasses.asdict(settings),
                "tokenizer": tokenizer.fingerprint,
                "sources": [[source.name, source.key] for source in sources],
            }
            if done := _begin(out, identity, fresh):
                return done
            tokenizer.save(out / names.TOKENIZER)
            resources = resources.affordable(
                len(tokenizer.content), languages=bool(settings.language)
            )
            reading = Reading(settings.documents, settings.field, settings.max_record_mb << 20)
            stages = _stages(out, identity, sources, reading, settings, stop)
            bar = tqdm.tqdm(desc="preparing", unit="task", delay=1, file=sys.stderr)
            bar.total = sum(tasks for _, _, tasks in stages)
            with bar, quiet(out / _LOGS):
                complete = run_stages(stages, resources, out / _LOGS, bar.update)
        except OSError as error:
            where = error.filename or f"--out {out}"
            raise UserError(
                f"{where}: {error.strerror or error}; what is complete is kept, and the same "
                "command continues"
            ) from None
        if not complete:
            return None
        shutil.rmtree(out / _WORK, ignore_errors=True)
        return read_manifest(out, "--out")


def _stages(
    out: Path,
    identity: dict[str, Any],
    sources: Sequence[Source],
    reading: Reading,
    settings: PrepareSettings,
    stop: bool,
) -> list[Stage]:
    work = out / _WORK
    tokenizer = (out / names.TOKENIZER, identity["tokenizer"])
    for name in ("parts", "tallies"):
        (work / name).mkdir(parents=True, exist_ok=True)
    tasks = deal_tasks(sources, reading)
    encode = [EncodeDocuments(tasks, reading, settings, tokenizer, stop, work)]
    near = []
    if settings.dedup == "minhash":
        encode.append(NearSignature(work / "signatures"))
        near = near_stages(work / "signatures", work / "pairs", work / "removals")
    return [("encode", encode, len(tasks)), *near, ("join", [JoinTokens(out, work, identity)], 1)]


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Makes the folder if needed and keeps other processes from it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process, which prepares into {out}", file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _begin(out: Path, identity: dict[str, Any], fresh: bool) -> Manifest | None:
    """Notes what the folder is for, or sees that it is for this; its manifest if all is done."""
    for path in sorted(out.iterdir()):
        if path.name not in _OURS and not _LEFT_OVER.fullmatch(path.name):
            raise UserError(f"--out {out} holds something else ({path.name}); name a new folder")
        if fresh and path.is_dir():
            shutil.rmtree(path)
        elif fresh:
            path.unlink()
    if (out / names.MANIFEST).exists():
        manifest = read_manifest(out, "--out")
        require_identity(manifest.identity, identity, out)
        shutil.rmtree(out / _WORK, ignore_errors=True)
        return manifest
    path = out / names.IDENTITY
    if path.exists():
        try:
            require_identity(json.loads(path.read_bytes()), identity, out)
        except ValueError:
            raise UserError(f"{path}: this file is damaged; --fresh begins anew") from None
    elif any((out / name).exists() for name in _OURS):
        raise UserError(f"--out {out}: {names.IDENTITY} is missing; --fresh begins anew")
    else:
        replace_file(path, json.dumps(identity, indent=1).encode())
    return None
