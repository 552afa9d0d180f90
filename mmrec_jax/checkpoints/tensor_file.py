"""A file of tensors and facts in the safetensors format, checked as a whole.

The safetensors metadata has one key, whose value is JSON with `version` (of this layout), `facts`
and `sha256` (of the facts and of every tensor's name, dtype, shape and bytes): a file read without
an error is bit for bit the one written, and the same content always makes the same bytes.
Format: https://github.com/huggingface/safetensors#format
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError

Tensors = dict[str, np.ndarray]
_PathLike = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class TensorFormat:
    """One kind of file."""

    noun: str  # what a file is, for messages
    key: str  # of the metadata; the library writes several in random order, so there is one alone
    version: int = 1
    unchecked: int = 0  # files up to this version have the facts beside `version`, and no sha256

    def write(self, path: _PathLike, tensors: Mapping[str, Any], facts: dict[str, Any]) -> int:
        """Writes a file in one step, replacing one of the same name; `facts` are fit for JSON.

        Returns:
          The file's size in bytes.

        Raises:
          UserError: it cannot be written (a full disk, say); a file there before is untouched.
        """
        on_host = {name: np.asarray(array) for name, array in tensors.items()}
        label = {"version": self.version, "facts": facts, "sha256": _sha256(on_host, facts)}
        content = save(on_host, {self.key: json.dumps(label, sort_keys=True)})
        replace_file(Path(path), content)
        return len(content)

    def read(self, path: _PathLike) -> tuple[Tensors, dict[str, Any]]:
        """The tensors and facts of a file.

        Raises:
          UserError: there is no such file, it is of another kind, it was cut off or changed after
            it was written, or a newer version of this package wrote it.
        """
        label, tensors = self._read(path, with_tensors=True)
        checked = label["version"] > self.unchecked
        if checked and _sha256(tensors, label["facts"]) != label["sha256"]:
            raise UserError(f"{path}: the {self.noun} is damaged (its checksum is another)")
        return tensors, label["facts"]

    def read_facts(self, path: _PathLike) -> dict[str, Any]:
        """The facts of a file alone; its tensors are neither read nor checked."""
        return self._read(path, with_tensors=False)[0]["facts"]

    def require_writable(self, path: _PathLike) -> None:
        """Refuses a path in a missing or closed folder, or of a file of another kind."""
        path = Path(path)
        folder = path.parent
        cannot = f"{path}: cannot write the {self.noun}"
        if not folder.is_dir():
            raise UserError(f"{cannot}: there is no folder {folder}")
        if path.is_dir():
            raise UserError(f"{cannot}: this is a folder")
        if not os.access(folder, os.W_OK):
            raise UserError(f"{cannot}: no permission to write in {folder}")
        if not path.exists():
            return
        try:
            with safe_open(path, framework="numpy") as content:
                known = self.key in (content.metadata() or {})
        except (OSError, SafetensorError):
            known = False
        if not known:
            raise UserError(
                f"{path}: there is a file here that is not a {self.noun}; it is left as it is"
            )

    def _read(self, path: _PathLike, *, with_tensors: bool) -> tuple[dict[str, Any], Tensors]:
        tensors: Tensors = {}
        try:
            with safe_open(path, framework="numpy") as content:
                label = self._label(content.metadata() or {}, path)
                if with_tensors:
                    tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(f"{path}: cannot read the {self.noun}: {reason}") from None
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            # The format begins with 8 bytes of length and the brace of a JSON object.
            if Path(path).read_bytes()[8:9] != b"{":
                raise UserError(f"{path}: this file is not a {self.noun}") from None
            raise UserError(f"{path}: the {self.noun} is damaged or cut off ({error})") from None
        return label, tensors

    def _label(self, metadata: dict[str, str], path: _PathLike) -> dict[str, Any]:
        if self.key not in metadata:
            raise UserError(f"{path}: this file is not a {self.noun}, but other safetensors")
        label: dict[str, Any] = json.loads(metadata[self.key])
        if label["version"] > self.version:
            raise UserError(
                f"{path}: the {self.noun} has format version {label['version']}; this mmrec_jax "
                f"reads versions up to {self.version}: install a newer one"
            )
        if label["version"] < 1 or json.dumps(label, sort_keys=True) != metadata[self.key]:
            raise ValueError("its label is not as it was written")
        if label["version"] <= self.unchecked:
            return {"version": label.pop("version"), "facts": label}
        if not isinstance(label["facts"], dict):
            raise TypeError("its facts are no object")
        return {name: label[name] for name in ("version", "facts", "sha256")}


def _sha256(tensors: Tensors, facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
