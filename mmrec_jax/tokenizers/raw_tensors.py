"""Tensors of safetensors files as the bytes they are, whatever their dtype.

Format: https://github.com/huggingface/safetensors#format
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize, safe_open

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

FLOATS = {"F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64}


@dataclasses.dataclass(frozen=True)
class RawTensor:
    """One tensor, little-endian and in C order."""

    dtype: str  # the format's name of it: "BF16", "F8_E4M3", ...
    shape: list[int]
    data: bytes

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Self:
        """A tensor of a dtype that `array` knows."""
        name = next(name for name, dtype in FLOATS.items() if dtype == array.dtype)
        return cls(name, list(array.shape), array.tobytes())

    def array(self) -> NDArray[Any] | None:
        """The numbers, if they are float16, bfloat16, float32 or float64."""
        dtype = FLOATS.get(self.dtype)
        return None if dtype is None else np.frombuffer(self.data, dtype).reshape(self.shape)


def read_tensors(path: Path) -> tuple[dict[str, RawTensor], dict[str, str]]:
    """The tensors and the metadata of a file, or of all that a `*.index.json` lists.

    Raises:
      UserError: a file cannot be read or is damaged, or lacks a tensor of the index.
    """
    if path.suffix != ".json":
        return _read_file(path)
    index = read_json_object(path, str(path)).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(x, str) for x in index.values()):
        raise UserError(f"{path}: there is no weight_map here, from tensors to files")
    tensors: dict[str, RawTensor] = {}
    metadata: dict[str, str] = {}
    for name in sorted(set(index.values())):
        found, about = _read_file(path.with_name(name))
        tensors |= found
        metadata |= about
    for tensor, name in index.items():
        if tensor not in tensors:
            raise UserError(f"{path}: there is no tensor {tensor} in {name}")
    return tensors, metadata


def _read_file(path: Path) -> tuple[dict[str, RawTensor], dict[str, str]]:
    try:
        with safe_open(path, framework="numpy") as content:
            metadata = content.metadata() or {}
        tensors = {
            name: RawTensor(each["dtype"], each["shape"], bytes(each["data"]))
            for name, each in deserialize(path.read_bytes())
        }
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: this is not a safetensors file: {error}") from None
    return tensors, metadata


def file_header(description: Mapping[str, Any]) -> bytes:
    """What a file begins with: of each tensor its dtype, shape and offsets; metadata."""
    label = json.dumps(description).encode()
    label += b" " * (-len(label) % 8)
    return len(label).to_bytes(8, "little") + label


def write_tensors(
    path: Path, tensors: Mapping[str, RawTensor], metadata: Mapping[str, str]
) -> None:
    """Replaces a file in one step, or raises a `UserError`."""
    # Wide numbers come first, so that each lies at a multiple of its size.
    numbers = {name: max(math.prod(each.shape), 1) for name, each in tensors.items()}
    names = sorted(tensors, key=lambda name: (-len(tensors[name].data) / numbers[name], name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        each, begin = tensors[name], end
        end += len(each.data)
        header[name] = {"dtype": each.dtype, "shape": each.shape, "data_offsets": [begin, end]}
    parts = [file_header(header), *(tensors[name].data for name in names)]
    try:
        replace_file(path, b"".join(parts))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
