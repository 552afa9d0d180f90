"""The folder that is prepared into: whose it is, and what of it is of use."""

import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Any

from mmrec_jax.data.prepared.journal import Journal, check_identity, read_journal
from mmrec_jax.data.prepared.manifest import JOURNAL, MANIFEST, TOKENIZER, Manifest, read_manifest
from mmrec_jax.errors import UserError

_PARTS = r"(train|validation)-\d{5}\.(tokens|tokens\.part|documents\.npy)|keys-\d{5}\.npy"
_OURS = re.compile(rf"{_PARTS}|skipped-\d{{5}}\.txt")
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # what a kill leaves of `replace_file`
_ROW_BYTES = 24  # of a document in the index, at least
_REPORT = re.compile(r"report\.(md|json)|report_\w+\.png")


class OutputFolder:
    """A folder, kept from other processes while it is open."""

    def __init__(self, path: Path) -> None:
        """Makes it if needed.

        Raises:
          UserError: it cannot be made, or another process prepares into it.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"--out {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            reason = "another process is preparing into it"
            if not isinstance(error, BlockingIOError):
                reason = f"the folder cannot be locked: {error.strerror}"
            raise UserError(f"--out {path}: {reason}") from None

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def finished(self, identity: dict[str, Any], fresh: bool) -> Manifest | None:
        """The manifest, if this very preparation is complete.

        Raises:
          UserError: another one is, and `fresh` is not set; or the manifest is damaged.
        """
        if fresh or not (self.path / MANIFEST).exists():
            return None
        manifest = read_manifest(self.path, "--out")
        saved = {
            **manifest.settings,
            "tokenizer": manifest.tokenizer,
            "sources": [[source["name"], source["identity"]] for source in manifest.sources],
        }
        check_identity(saved, identity, self.path)
        self._remove(keep=_files(manifest) | {MANIFEST})
        return manifest

    def begin(self, identity: dict[str, Any], fresh: bool) -> Journal:
        """The journal to continue with. What was begun of the next step will be written over.

        Raises:
          UserError: the folder holds something else, another preparation (and `fresh` is not set),
            or a file of a completed step is missing or cut short.
          OSError: the folder cannot be written.
        """
        for name in sorted(os.listdir(self.path)):
            known = name in (MANIFEST, JOURNAL, TOKENIZER) or _REPORT.fullmatch(name)
            if not (known or _OURS.fullmatch(name) or _TEMPORARY.fullmatch(name)):
                raise UserError(
                    f"--out {self.path} holds something else ({name}); name a new folder"
                )
        journal = None if fresh else read_journal(self.path)
        if journal is None:
            if not fresh and any(_OURS.fullmatch(name) for name in os.listdir(self.path)):
                raise UserError(
                    f"--out {self.path} holds shards but no {JOURNAL}; --fresh begins anew"
                )
            (self.path / MANIFEST).unlink(missing_ok=True)
            journal = Journal(identity)
            journal.write(self.path)
            self._remove(keep={JOURNAL})
            shutil.rmtree(self.path / TOKENIZER, ignore_errors=True)
            return journal
        check_identity(journal.identity, identity, self.path)
        self._check_files(journal)
        return journal

    def _check_files(self, journal: Journal) -> None:
        for entry in (entry for split in journal.shards.values() for entry in split):
            path = self.path / entry["tokens_file"]
            size = path.stat().st_size if path.exists() else None
            if size != entry["bytes"]:
                found = "missing" if size is None else f"{size:,} bytes long"
                raise UserError(
                    f"{path}: this finished shard is {found}, not {entry['bytes']:,} bytes; "
                    "--fresh begins anew"
                )
            index = self.path / entry["documents_file"]
            if not index.exists() or index.stat().st_size < _ROW_BYTES * entry["documents"]:
                raise UserError(
                    f"{index}: this finished index is missing or cut short; --fresh begins anew"
                )
        for name in journal.skipped["files"]:
            if not (self.path / name).exists():
                raise UserError(f"{self.path / name}: this list is missing; --fresh begins anew")

    def _remove(self, keep: set[str]) -> None:
        """Removes files of ours but these."""
        for name in os.listdir(self.path):
            ours = _OURS.fullmatch(name) or _TEMPORARY.fullmatch(name) or name == JOURNAL
            if ours and name not in keep:
                (self.path / name).unlink()


def _files(manifest: Manifest) -> set[str]:
    journal = Journal({}, shards=manifest.shards, skipped=manifest.skipped)
    return journal.files
