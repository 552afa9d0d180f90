"""The file of a saved state: tensors and facts in the safetensors format, checked as a whole.

The safetensors metadata has one key, whose value is JSON with `version` (of this layout), `facts`
and `sha256` (of the facts and of every tensor's name, dtype, shape and bytes): a file read without
an error is bit for bit the one written, and the same state always makes the same bytes.
Format: https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError

VERSION = 1
# One key alone: the library writes several in random order.
_KEY = "mmrec_jax saved state"

Tensors = dict[str, np.ndarray]


def write_state_file(
    path: str | os.PathLike[str], tensors: Tensors, facts: dict[str, Any], version: int = VERSION
) -> int:
    """Writes a file in one step, in place of one of the same name.

    Args:
      path: the file.
      tensors: arrays by name.
      facts: what else is to be kept, fit for JSON.
      version: of the layout.

    Returns:
      The file's size in bytes.

    Raises:
      UserError: it cannot be written (a full disk, say); a file there before is untouched.
    """
    label = {"version": version, "facts": facts, "sha256": _sha256(tensors, facts)}
    content = save(tensors, {_KEY: json.dumps(label, sort_keys=True)})
    try:
        replace_file(Path(path), content)
    except OSError as error:
        raise UserError(f"{path}: cannot write the state: {error.strerror}") from None
    return len(content)


def read_state_file(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and facts of a file.

    Raises:
      UserError: there is no such file, it is no saved state, it was cut off or changed after it
        was written, or a newer version of this package wrote it.
    """
    try:
        with safe_open(path, framework="numpy") as content:
            label = _label(content.metadata() or {}, path)
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"{path}: cannot read the state: {reason}") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        # The format begins with 8 bytes of length and the brace of a JSON object.
        if Path(path).read_bytes()[8:9] != b"{":
            raise UserError(f"{path}: this file is not a saved state") from None
        raise UserError(f"{path}: the saved state is damaged or cut off ({error})") from None
    if _sha256(tensors, label["facts"]) != label["sha256"]:
        raise UserError(f"{path}: the saved state is damaged (its checksum is another)")
    return tensors, label["facts"]


def require_place_for_state(path: str | os.PathLike[str]) -> None:
    """Refuses a place where no state could be written, or where something else would be lost.

    Raises:
      UserError: the folder is missing or closed, or the file there is not a saved state.
    """
    place = Path(path)
    folder = place.parent
    if not folder.is_dir():
        raise UserError(f"{place}: cannot write the state: there is no folder {folder}")
    if place.is_dir():
        raise UserError(f"{place}: cannot write the state: this is a folder")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{place}: cannot write the state: no permission to write in {folder}")
    if not place.exists():
        return
    try:
        with safe_open(place, framework="numpy") as content:
            known = _KEY in (content.metadata() or {})
    except (OSError, SafetensorError):
        known = False
    if not known:
        raise UserError(
            f"{place}: there is a file here that is not a saved state; it is left as it is"
        )


def _label(metadata: dict[str, str], path: str | os.PathLike[str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise UserError(f"{path}: this file is not a saved state, but other safetensors")
    label: dict[str, Any] = json.loads(metadata[_KEY])
    if label["version"] > VERSION:
        raise UserError(
            f"{path}: the saved state has format version {label['version']}; this mmrec_jax reads "
            f"versions up to {VERSION}: install a newer one"
        )
    return {name: label[name] for name in ("facts", "sha256")}


def _sha256(tensors: Tensors, facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
