"""Safetensors files: tensors read in parts, and written as shards of a size."""

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from huggingface_hub import split_state_dict_into_shards_factory
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmrec_jax.atomic_file import replace_file, replacing
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
FLOATS = [np.dtype(each) for each in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]
_INTEGERS = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
# By the names of the format: F32, BF16, I8, U64, BOOL.
_DTYPES = {f"{each.kind.upper()}{8 * each.itemsize}": each for each in (*FLOATS, *_INTEGERS)}
_DTYPES |= {"F16": FLOATS[0], "BF16": FLOATS[1], "BOOL": np.dtype(np.bool_)}
_CODES = _INTEGERS[0], _INTEGERS[4]  # of a folder of `mmrec quantise` alone


@dataclasses.dataclass(frozen=True)
class LazyTensor:
    """A tensor in a file, or to be written into one, whose numbers are not on the host yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    # All of it; of one in a file also rows `first` to `last - 1` of axis 0, in the file's layout
    read: Callable[..., NDArray[Any]]


def open_shards(folder: Path) -> dict[str, LazyTensor]:
    """The tensors of a folder by name: of its index, or else of its only file.

    Raises:
      UserError: as `open_tensors`, or a tensor's dtype is none that models are trained in.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        path = folder / SINGLE_FILE
    if not path.is_file():
        others = [f" (save_pretrained makes one of {x.name})" for x in folder.glob("*.bin")]
        raise UserError(
            f"{folder}: there is neither {SINGLE_FILE} nor {INDEX_FILE}{''.join(others[:1])}"
        )
    tensors = open_tensors(path)
    for name, each in tensors.items():
        if each.dtype not in (*FLOATS, *(_CODES if name.endswith("/codes") else ())):
            raise _unreadable(path, name, str(each.dtype))
    return tensors


def open_tensors(path: Path) -> dict[str, LazyTensor]:
    """The tensors of a file, or of all that a `*.index.json` lists, by name.

    Raises:
      UserError: a file is missing, cut off or no safetensors file, it lacks a tensor of the index,
        or a tensor is in 8 bits of floating point or fewer.
    """
    if path.suffix != ".json":
        return _open_file(path)
    files = read_json_object(path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(x, str) for x in files.values()):
        raise UserError(f"{path}: there is no weight_map here, from tensors to files")
    shards = {}
    for name in sorted(set(files.values())):
        file = path.with_name(name)
        if not file.is_file():
            raise UserError(f"{file}: this file of {path.name} is missing; download it")
        shards[name] = _open_file(file)
    for tensor, name in files.items():
        if tensor not in shards[name]:
            file = path.with_name(name)
            raise UserError(f"{file}: there is no {tensor}, which {path.name} says it has")
    return {tensor: shards[name][tensor] for tensor, name in files.items()}


def _open_file(path: Path) -> dict[str, LazyTensor]:
    found = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise _unreadable(path, name, part.get_dtype())
                shape, dtype = tuple(part.get_shape()), _DTYPES[part.get_dtype()]
                found[name] = LazyTensor(shape, dtype, functools.partial(_read, path, name))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: this file is cut off or damaged ({error})") from None
    return found


def _unreadable(path: Path, name: str, dtype: str) -> UserError:
    return UserError(
        f"{path}: {name} is {dtype}: quantised checkpoints are not read; use the one in bfloat16, "
        "float16 or float32"
    )


def _read(path: Path, name: str, first: int = 0, last: int | None = None) -> NDArray[Any]:
    """Opens the file each time: pages that were read count as the process's own until then."""
    try:
        with safe_open(path, framework="numpy") as file:
            found = file.get_tensor(name) if last is None else file.get_slice(name)[first:last]
            return np.asarray(found)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: this file was changed while it was read ({error})") from None


def write_shards(path: Path, tensors: Mapping[str, LazyTensor], shard_bytes: int) -> list[str]:
    """Writes tensors into a file or, from `shard_bytes` on, several beside it, and their index.

    The host holds the tensors of one file at a time: `shard_bytes`, or one tensor.

    Returns:
      The names of the files.

    Raises:
      UserError: one cannot be written, or one of several is there already.
    """
    split = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: math.prod(tensor.shape) * tensor.dtype.itemsize,
        filename_pattern=f"{path.stem}{{suffix}}{path.suffix}",
        max_shard_size=shard_bytes,
    )
    files = {path.with_name(file): names for file, names in split.filename_to_tensors.items()}
    if split.is_sharded and (there := next(filter(Path.exists, files), None)):
        raise UserError(f"{there}: there is something here already; name a new file")
    for file, names in files.items():
        _write_file(file, {name: tensors[name].read() for name in names})
    if not split.is_sharded:
        return [path.name]
    content = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    index = path.with_name(f"{path.name}.index.json")
    replace_file(index, (json.dumps(content, indent=2) + "\n").encode())
    return [*split.filename_to_tensors, index.name]


def _write_file(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Replaces a file in one step; `UserError` if it cannot be written."""
    # The library writes the buffers of arrays as they lie in memory.
    laid_out = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    try:
        with replacing(path) as stream:
            # transformers refuses a file without this metadata
            save_file(laid_out, stream.name, {"format": "pt"})
            # The library has put another file in its place, which its owner alone may read.
            os.chmod(stream.name, os.fstat(stream.fileno()).st_mode)
            with open(stream.name, "rb") as written:
                os.fsync(written.fileno())
    except SafetensorError as error:
        raise UserError(f"{path}: cannot be written: {error}") from None
