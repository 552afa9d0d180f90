"""What a long learning has got so far, in a folder, so that a kill loses little."""

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


class LearningState:
    """Named groups of arrays; each is there whole, as last saved, or not at all.

    Attributes:
      folder: where everything lies.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], fresh: bool) -> None:
        """Opens a folder, or makes it.

        Args:
          folder: the place.
          settings: what determines the result, fit for JSON.
          fresh: whether to throw away what is there.

        Raises:
          UserError: it holds something learned with other settings, or cannot be written.
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
            raise UserError(f"{folder}: cannot keep what is learned here: {reason}") from None

    def save(self, name: str, arrays: Arrays) -> None:
        """Replaces a group in one step.

        Raises:
          UserError: it cannot be written.
        """
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **arrays)
        path = self._path(name)
        try:
            replace_file(path, stream.getvalue())
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None

    def load(self, name: str) -> Arrays | None:
        """A group, or None where there is none."""
        try:
            with np.load(self._path(name)) as content:
                return dict(content)
        except OSError:
            return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def remove(self) -> None:
        """Takes the folder away, when all is learned."""
        shutil.rmtree(self.folder, ignore_errors=True)


def require_same(there: dict[str, Any], here: dict[str, Any], folder: Path) -> None:
    """Refuses to go on with what other settings began.

    Raises:
      UserError: names the settings that differ.
    """
    names = sorted(name for name in there | here if there.get(name) != here.get(name))
    if names:
        raise UserError(
            f"{folder}: what is here was made with other settings ({', '.join(names)}); give "
            "those, or --fresh to begin anew"
        )
