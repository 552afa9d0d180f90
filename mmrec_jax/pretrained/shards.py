"""Safetensors files read and written tensor by tensor.

Format: https://github.com/huggingface/safetensors#format. The library maps a file into memory, and
every page that is read counts as the process's own from then on; here a part of a tensor is read
into an array that goes as soon as it is placed.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mmrec_jax.atomic_file import replacing
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        **{"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64},
        **{"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "BOOL": np.bool_},
        **{"I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64, "C64": np.complex64},
        **{"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2},
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    }.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
FLOATS = [_DTYPES[name] for name in ("F16", "BF16", "F32", "F64")]
_CODES = [_DTYPES[name] for name in ("U8", "I8")]  # of `quantised_folder.py` alone
_METADATA = {"format": "pt"}  # transformers refuses a file without it


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, whose numbers are not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    # Rows `first` to `last - 1` of axis 0, in the layout of the file
    read: Callable[[int, int], NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class NewTensor:
    """A tensor to write; its parts, along axis 0, are made one after another."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Callable[[], Iterator[NDArray[Any]]]

    @property
    def num_bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def tensor_of(stored: StoredTensor, *parts: NDArray[Any]) -> NewTensor:
    """A tensor with the numbers of one that is stored, or with others along its axis 0."""
    if not parts:
        count = stored.shape[0] if stored.shape else 1
        return NewTensor(stored.shape, stored.dtype, lambda: iter([stored.read(0, count)]))
    return NewTensor((sum(map(len, parts)), *stored.shape[1:]), stored.dtype, lambda: iter(parts))


def open_shards(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a folder by name: of its index, or else of its only file.

    Raises:
      UserError: as `open_tensors`, or a tensor's dtype is none that models are trained in (fp8).
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
            raise UserError(
                f"{path}: {name} is {_NAMES[each.dtype]}: quantised checkpoints are not read; use "
                "the one in bfloat16, float16 or float32"
            )
    return tensors


def open_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file, or of all that a `*.index.json` lists, by name.

    Raises:
      UserError: a file is missing, cut off or no safetensors file, it lacks a tensor of the index,
        or a dtype is not known.
    """
    if path.suffix != ".json":
        return _open_file(path)
    files = read_json_object(path, str(path)).get("weight_map")
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


def _open_file(path: Path) -> dict[str, StoredTensor]:
    try:
        with safe_open(path, framework="numpy"):  # it checks the header, and the size of the file
            pass
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: this file is cut off or damaged ({error})") from None
    header.pop("__metadata__", None)
    found = {}
    for name, each in header.items():
        dtype = _DTYPES.get(each["dtype"])
        if dtype is None:
            raise UserError(f"{path}: {name} is {each['dtype']}, which is not known here")
        shape, begin = tuple(each["shape"]), 8 + length + each["data_offsets"][0]
        found[name] = StoredTensor(shape, dtype, _reader(path, shape, dtype, begin))
    return found


def _reader(
    path: Path, shape: tuple[int, ...], dtype: Any, begin: int
) -> Callable[[int, int], NDArray[Any]]:
    row = math.prod(shape[1:]) * np.dtype(dtype).itemsize

    def read(first: int, last: int) -> NDArray[Any]:
        numbers = np.empty((last - first, *shape[1:]), dtype)
        with path.open("rb", buffering=0) as stream:
            stream.seek(begin + first * row)
            waiting = numbers.reshape(-1).view(np.uint8).data
            while waiting:
                count = stream.readinto(waiting)
                if not count:
                    raise UserError(f"{path}: this file was cut off while it was read")
                waiting = waiting[count:]
        return numbers

    return read


def write_shards(folder: Path, tensors: Mapping[str, NewTensor], shard_bytes: int) -> list[str]:
    """Writes tensors into files of at most `shard_bytes` (or one tensor), and their index.

    Returns:
      The names of the files.

    Raises:
      OSError, UserError: one cannot be written.
    """
    groups: list[list[str]] = [[]]
    size = 0
    for name, each in tensors.items():
        if groups[-1] and size + each.num_bytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += each.num_bytes
    if len(groups) == 1:
        write_file(folder / SINGLE_FILE, tensors)
        return [SINGLE_FILE]
    files = [f"model-{i:05}-of-{len(groups):05}.safetensors" for i in range(1, len(groups) + 1)]
    for file, names in zip(files, groups, strict=True):
        write_file(folder / file, {name: tensors[name] for name in names})
    total = sum(each.num_bytes for each in tensors.values())
    places = {name: file for file, names in zip(files, groups, strict=True) for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    return [*files, INDEX_FILE]


def write_file(path: Path, tensors: Mapping[str, NewTensor]) -> None:
    """Replaces a file in one step: it may be one that the tensors are read from.

    Raises:
      UserError: it cannot be written.
    """
    # Wide numbers come first, so that each lies at a multiple of its size.
    names = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": _METADATA}
    end = 0
    for name in names:
        each, begin = tensors[name], end
        end += each.num_bytes
        dtype, shape = _NAMES[each.dtype], list(each.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    label = json.dumps(header).encode()
    label += b" " * (-len(label) % 8)
    with replacing(path) as stream:
        stream.write(len(label).to_bytes(8, "little") + label)
        for name in names:
            for part in tensors[name].parts():
                stream.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
