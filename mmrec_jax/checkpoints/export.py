"""A model in a folder of its own that needs no base: what `mmrec export` writes of our families.

`model.safetensors` holds each parameter under its path (`blocks/ffn/down/kernel`), and the facts
`step`, `config` and `tokenizer` (fingerprint), all covered by a checksum since version 2
(`tensor_file.py`). `config.json` and `tokenizer/` are those of a run, so that the folder is read
like a run.
"""

import os
from pathlib import Path
from typing import Any

import jax

from mmrec_jax.checkpoints.tensor_file import TensorFormat
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.errors import UserError
from mmrec_jax.train.mesh import first_device
from mmrec_jax.tree import map_named

EXPORT_FORMAT = TensorFormat("model of mmrec export", key="mmrec_jax model", version=2, unchecked=1)
_FACTS = {"step": int, "config": dict, "tokenizer": str}


def require_new_folder(folder: str | os.PathLike[str]) -> Workdir:
    """The folder, if nothing would be overwritten there; else `UserError`."""
    target = Workdir(Path(folder))
    if target.root.exists() and (not target.root.is_dir() or any(target.root.iterdir())):
        raise UserError(f"{folder}: there is something here already; name a new folder")
    return target


def read_exported_facts(path: Path) -> dict[str, Any]:
    """`step`, `config` and `tokenizer` of an exported model; errors as `TensorFormat.read`."""
    facts = EXPORT_FORMAT.read_facts(path)
    for name, kind in _FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise UserError(f"{path}: the model is damaged: {name} is {facts.get(name)!r}")
    return facts


def read_exported_params(path: Path, abstract: Any) -> Any:
    """The parameters, on the first device where `abstract` has no sharding of them.

    It is a `UserError` if the file is damaged or of other shapes.
    """
    tensors, _ = EXPORT_FORMAT.read(path)

    def leaf(name: str, like: jax.ShapeDtypeStruct) -> jax.Array:
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (like.shape, like.dtype):
            shown = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise UserError(
                f"{path}: {name} is {shown}; by the config it is {like.dtype} {list(like.shape)}"
            )
        place = like.sharding or first_device()
        return jax.make_array_from_callback(found.shape, place, found.__getitem__)

    return map_named(leaf, abstract)
