"""Checkpoints on disk (orbax): written in the background, chosen only when complete and undamaged.

One checkpoint is a folder named by its step with items: trees of arrays (`params`, and `training`
for what else a run continues from), `data` (the data iterator, JSON) and `meta` (format version,
config, tokenizer fingerprint, validation loss: JSON). Orbax writes into a temporary folder; when
all items are there, `checksums.json` is added and the folder renamed, so a process killed at any
moment leaves the previous checkpoint as the newest one.

Format 1 had no checksums, and the validation loss in an item of its own; its models are still read.
"""

import contextlib
import functools
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from mmrec_jax.checkpoints import checksums
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.train.processes import barrier, gather, is_process_zero

FORMAT_VERSION = 2
_COMMITTED = "commit_success.txt"  # orbax writes it last into each folder
_LEFTOVER = re.compile(r"[0-9]+\.(orbax-checkpoint-tmp.*|removed)")
_LOSS = "validation_loss"


class _Handler(ocp.CompositeCheckpointHandler):
    """Adds the checksums once all items are complete, before the folder gets its final name."""

    def finalize(self, directory: Any) -> None:
        super().finalize(directory)
        checksums.write_checksums(Path(directory))


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
class _Items(ocp.args.Composite):
    """What orbax calls that handler with."""


@functools.cache
def _silence_failed_saves() -> None:
    """Keeps silent of writes that report to the closed event loop of a save that has failed."""
    previous = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    sys.unraisablehook = hook


class Checkpointer:
    """Saves and restores checkpoints under one directory."""

    def __init__(
        self, directory: Path, *, keep_last: int = 2, keep_best: int = 1, read_only: bool = False
    ) -> None:
        """Opens `directory`, keeping the newest and the best checkpoints by validation loss.

        With `read_only` nothing is created, saved or removed: a run may be writing there.
        """
        # orbax reports each save, and each failure of one, at length; `_explained` needs one line.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.directory = directory.resolve()
        self._keep_last, self._keep_best = keep_last, keep_best
        self._saved: int | None = None  # a step whose folder may not be there yet
        if not read_only:
            if is_process_zero():
                self.directory.mkdir(parents=True, exist_ok=True)
                self._remove_leftovers()
            barrier("unfinished checkpoints removed")
            self._opened = self.directory.stat()
        self._path = self.directory
        if set("*?[") & set(str(self.directory)):  # orbax would take these for patterns
            temporary = Path(tempfile.mkdtemp(prefix="mmrec_jax_"))
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            self._path = temporary / "checkpoints"
            self._path.symlink_to(self.directory)
        # Made in the background, a folder that cannot be made leaves threads that wait for it and
        # keep the process alive.
        options = ocp.options.AsyncOptions(create_directories_asynchronously=False)
        handler = _Handler(composite_options=ocp.CompositeOptions(async_options=options))
        self._orbax = ocp.AsyncCheckpointer(handler, async_options=options)
        _silence_failed_saves()

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return max(self.all_steps(), default=None)

    def best_step(self) -> int | None:
        """Step of the checkpoint with the lowest validation loss; the newest if none has one."""
        steps = self.all_steps()
        return next(iter(self._by_loss(steps)), max(steps, default=None))

    def all_steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending; their bytes are not read."""
        return [step for step in self._folders() if not self._find_missing(step)]

    def choose(self, step: int | str) -> int:
        """The checkpoint meant by "best" (lowest validation loss), "last" or a number, if complete.

        Raises:
          UserError: there is none, or it is incomplete: naming the newest one that is intact.
        """
        steps = self._folders()
        if step in ("best", "last") and not steps:
            raise UserError(f"{self.directory}: the run has no checkpoint yet")
        # Of a damaged one nobody knows whether it was the best.
        for each in steps if step == "best" else steps[-1:] if step == "last" else [step]:
            if each not in steps:
                complete = self.all_steps()
                raise UserError(
                    f"{self.directory}: there is no checkpoint {step!r}; there are {complete}"
                )
            # A folder that is gone by now was removed by the run itself.
            if (missing := self._find_missing(each)) and self._folder(each).is_dir():
                raise self._refusal(each, missing)
        chosen = {"best": self.best_step(), "last": self.latest_step()}.get(str(step), step)
        assert isinstance(chosen, int)
        return chosen

    def resume_step(self, wanted: int | None = None) -> int:
        """The checkpoint that training continues from: `wanted`, or the newest; 0 without any."""
        if wanted is None and not self._folders():
            return 0
        return self.choose("last" if wanted is None else wanted)

    def save(
        self,
        step: int,
        arrays: dict[str, Any],
        *,
        data: dict[str, Any],
        meta: dict[str, Any],
        validation_loss: float | None,
    ) -> None:
        """Starts a save in the background, waiting for the one before.

        `arrays` has trees by item; `data`, the data iterator's state, and `meta` are fit for JSON;
        the best are kept by `validation_loss`.

        Raises:
          UserError: this or an earlier save failed (a full disk, say).
        """
        self.wait()
        meta = {"format": FORMAT_VERSION, "step": step, **meta, _LOSS: validation_loss}
        items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
        with self._explained():
            self._orbax.save(
                self._path / str(step),
                args=_Items(**items, data=ocp.args.JsonSave(data), meta=ocp.args.JsonSave(meta)),
            )
        self._saved = step

    def check(self) -> None:
        """Raises `UserError` if a background save has failed."""
        with self._explained():
            self._orbax.check_for_errors()
        if self._saved is not None and self._folder(self._saved).is_dir():
            self._saved = None
            self._remove_superseded()

    def wait(self) -> None:
        """Returns when the last save is complete on disk; raises `UserError` if it failed."""
        with self._explained():
            self._orbax.wait_until_finished()
        self.check()
        if self._saved is not None or not self._is_here():
            self._saved = None
            raise self._gone()

    def close(self) -> None:
        """Waits for the last save and lets go of the directory."""
        if self._saved is not None:
            self.wait()
        self._orbax.close()

    def read_meta(self, step: int) -> dict[str, Any]:
        """The `meta` item of one checkpoint; `UserError` if damaged or of a later version."""
        self._require_undamaged(step, ["meta"])
        meta = self._read_json(step, "meta")
        if meta.get("format") not in range(1, FORMAT_VERSION + 1):
            raise UserError(
                f"{self._folder(step)}: checkpoint format {meta.get('format')}; this version of "
                f"mmrec_jax reads formats up to {FORMAT_VERSION}: install a newer one"
            )
        return meta

    def restore(self, step: int, abstract: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The items of `abstract` as arrays, and the data iterator's state.

        `abstract` has trees of `jax.ShapeDtypeStruct` with shardings, by item.

        Raises:
          UserError: an item is missing, damaged (by its checksums), or of another structure.
        """
        items = [*abstract, "data"]
        # One process reads every byte; all must refuse together.
        damage = self._find_damage(step, items) if is_process_zero() else ""
        if damage := gather({"damage": damage})[0]["damage"]:
            raise self._refusal(step, damage)
        return self._restore_arrays(step, abstract), self._read_json(step, "data")

    def restore_params(self, step: int, abstract: Any) -> Any:
        """The parameters alone, checked against the checksums."""
        self._require_undamaged(step, ["params"])
        return self._restore_arrays(step, {"params": abstract})["params"]

    def set_aside_later(self, step: int) -> None:
        """Renames the checkpoints after `step`, and says so: the run continues from that one."""
        for later in self._folders() if is_process_zero() else []:
            if later <= step:
                continue
            folder = self._folder(later)
            name = f"{later}.{'damaged' if self._find_damage(later) else 'later'}"
            names = itertools.chain([name], (f"{name}.{count}" for count in itertools.count(2)))
            target = next(path for path in map(folder.with_name, names) if not path.exists())
            folder.rename(target)
            print(f"{folder}: moved aside to {target.name}", flush=True)
        barrier("later checkpoints moved aside")

    def _restore_arrays(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        folder = self._folder(step)
        for name in abstract:
            if not (folder / name).is_dir():
                raise UserError(
                    f"{folder}: this checkpoint has no {name}: it is a model, not a run that can "
                    f"be continued; begin another one with config.init_from={folder.parents[1]}"
                )
        args = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        try:
            restored = self._orbax.restore(self._path / str(step), args=_Items(**args))
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise UserError(f"{folder}: cannot be restored ({_first_line(error)})") from error
        return {name: restored[name] for name in abstract}

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _folders(self) -> list[int]:
        """Steps that have a folder, complete or not, ascending."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = [path.name for path in self.directory.iterdir()]
            return sorted(int(name) for name in names if name.isdecimal())
        return []

    def _read_json(self, step: int, item: str) -> dict[str, Any]:
        path = self._folder(step) / item / "metadata"
        return read_json_object(path, f"{item}/metadata")

    def _find_missing(self, step: int) -> str:
        """What is missing or cut off in a checkpoint, in words; empty if nothing is."""
        folder = self._folder(step)
        if not (folder / _COMMITTED).is_file():
            return f"{_COMMITTED} is missing: the checkpoint is incomplete"
        try:
            meta = self._read_json(step, "meta")
        except UserError as error:
            return str(error)
        if (folder / checksums.FILE_NAME).exists():
            return checksums.find_wrong_size(folder)
        format_1 = meta.get("format") == 1
        return "" if format_1 else f"{checksums.FILE_NAME} is missing: the checkpoint is incomplete"

    def _find_damage(self, step: int, items: list[str] | None = None) -> str:
        """As `_find_missing`, and the bytes of the given items, or of all, are compared."""
        folder = self._folder(step)
        missing = self._find_missing(step)
        if missing or not (folder / checksums.FILE_NAME).exists():
            return missing
        return checksums.find_damage(folder, items)

    def _require_undamaged(self, step: int, items: list[str]) -> None:
        if damage := self._find_damage(step, items):
            raise self._refusal(step, damage)

    def _refusal(self, step: int, damage: str) -> UserError:
        others = (each for each in reversed(self.all_steps()) if each != step)
        intact = next((each for each in others if not self._find_damage(each)), None)
        remedy = "no other checkpoint is intact: restore it from a copy, or train with --fresh"
        if intact is not None:
            remedy = (
                f"the newest intact step is {intact}: give --resume-step={intact} to continue "
                f"training from it, --step={intact} to other commands"
            )
        return UserError(f"{self._folder(step)}: {damage}; {remedy}")

    def _by_loss(self, steps: list[int]) -> list[int]:
        """The steps that have a validation loss, best first; of equal ones the newest first."""
        losses = {step: self._validation_loss(step) for step in steps}
        return sorted(
            (step for step in steps if losses[step] is not None), key=lambda x: (losses[x], -x)
        )

    def _validation_loss(self, step: int) -> float | None:
        try:
            meta = self._read_json(step, "meta")
            if meta.get("format") == 1:
                meta = json.loads((self._folder(step) / "metrics" / "metrics").read_bytes())
        except (OSError, ValueError, UserError):
            return None
        loss = meta.get(_LOSS) if isinstance(meta, dict) else None
        return loss if isinstance(loss, float) else None

    def _remove_superseded(self) -> None:
        if not is_process_zero():
            return
        steps = self.all_steps()
        kept = {*steps[-self._keep_last :], *self._by_loss(steps)[: self._keep_best]}
        for step in sorted(set(steps) - kept):
            # Renamed first: a kill half-way must not leave a checkpoint with files missing.
            removed = self._folder(step).with_name(f"{step}.removed")
            self._folder(step).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Removes saves and removals that a kill cut off."""
        for path in self.directory.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)

    def _is_here(self) -> bool:
        """Whether the directory is still the one that was opened: orbax may have made another."""
        with contextlib.suppress(OSError):
            return os.path.samestat(self._opened, self.directory.stat())
        return False

    def _gone(self) -> UserError:
        return UserError(
            f"{self.directory}: what was saved here is gone: the folder was moved or deleted while "
            "the run was writing in it. Move it back, and the same command continues"
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns a failed save into one line that says which checkpoint is still good."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds
            self._saved = None
            if not self._is_here():
                raise self._gone() from error
            good = self.latest_step()
            last = f"the checkpoint of step {good} is intact" if good else "there is no earlier one"
            raise UserError(
                f"{self.directory}: saving a checkpoint failed ({_first_line(error)}); {last}"
            ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
