"""The training checkpoint of an extension: a folder of arrays, so that a kill loses little."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError

_SETTINGS = "settings.json"

Arrays = dict[str, np.ndarray]


class Checkpoint:
    """Named groups of arrays in `folder`; each is complete, as last saved, or absent."""

    def __init__(self, folder: Path, settings: dict[str, Any], fresh: bool) -> None:
        """Opens a folder, or makes it; `settings` (JSON) are what determines the result.

        Raises:
          UserError: it holds a checkpoint of other settings, or cannot be written.
        """
        self.folder = folder
        content = (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()
        try:
            if fresh and folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / _SETTINGS
            if path.exists():
                require_same(json.loads(path.read_bytes()), json.loads(content), folder)
            else:
                replace_file(path, content)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{folder}: cannot keep a checkpoint here: {reason}") from None

    def save(self, name: str, arrays: Arrays) -> None:
        """Replaces a group in one step, or raises a `UserError`."""
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **arrays)
        path = self.folder / f"{name}.npz"
        try:
            replace_file(path, stream.getvalue())
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None

    def load(self, name: str) -> Arrays | None:
        """A group, or None if it was never saved."""
        try:
            with np.load(self.folder / f"{name}.npz") as content:
                return dict(content)
        except OSError:
            return None

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def require_same(saved: dict[str, Any], given: dict[str, Any], folder: Path) -> None:
    """Refuses to continue under other settings: a `UserError` that names those that differ."""
    names = sorted(name for name in saved | given if saved.get(name) != given.get(name))
    if names:
        raise UserError(
            f"{folder}: what is here was made with other settings ({', '.join(names)}); give "
            "those, or --fresh to begin anew"
        )
