"""A model in a folder that other programs can read: safetensors, the config and the tokenizer.

`model.safetensors` holds each parameter under its path (`blocks/ffn/down/kernel`) and, under one
metadata key, JSON with `version` (of this layout), `step`, `config` and `tokenizer` (fingerprint).
`config.json` and `tokenizer/` are those of a run, so that the folder is read like a run.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
from safetensors import SafetensorError, safe_open
from safetensors.flax import load_file, save

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.tree import map_named, path_name

VERSION = 1
_KEY = "mmrec_jax model"


def write_exported(
    folder: str | os.PathLike[str],
    config: Config,
    params: Any,
    tokenizer: Tokenizer,
    tokenizer_folder: Path,
    *,
    vocab_size: int,
    step: int,
) -> int:
    """Writes a new folder.

    Args:
      folder: it must not exist, or be empty.
      config: of the run, without adapters.
      params: the model's parameters.
      tokenizer: its tokenizer.
      tokenizer_folder: the files of the tokenizer, all of which are copied.
      vocab_size: of the model.
      step: of the run.

    Returns:
      The bytes of `model.safetensors`.

    Raises:
      UserError: there is something in the folder, or it cannot be written.
    """
    place = require_new_folder(folder)
    facts = {"step": step, "config": to_dict(config), "tokenizer": tokenizer.fingerprint}
    label = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    named = {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(params)}
    content = save(named, {_KEY: label})
    try:
        place.root.mkdir(parents=True, exist_ok=True)
        shutil.copytree(tokenizer_folder, place.tokenizer)
        place.write_config(config, vocab_size)
        replace_file(place.model_file, content)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the model: {error.strerror or error}") from None
    return len(content)


def require_new_folder(folder: str | os.PathLike[str]) -> Workdir:
    """The folder, if nothing would be overwritten there.

    Raises:
      UserError: there is something.
    """
    place = Workdir(Path(folder))
    if place.root.exists() and (not place.root.is_dir() or any(place.root.iterdir())):
        raise UserError(f"{folder}: there is something here already; name a new folder")
    return place


def read_exported_facts(path: Path) -> dict[str, Any]:
    """`step`, `config` and `tokenizer` of an exported model.

    Raises:
      UserError: the file cannot be read, is damaged, or a newer version of this package wrote it.
    """
    try:
        with safe_open(path, framework="numpy") as content:
            facts: dict[str, Any] = json.loads((content.metadata() or {})[_KEY])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: this is no model of mmrec export ({error})") from None
    if facts["version"] > VERSION:
        raise UserError(
            f"{path}: the model has format version {facts['version']}; this mmrec_jax reads "
            f"versions up to {VERSION}: install a newer one"
        )
    return facts


def read_exported_params(path: Path, abstract: Any) -> Any:
    """The parameters, on the first device.

    Args:
      path: `model.safetensors`.
      abstract: the tree that is expected, of shapes and dtypes.

    Raises:
      UserError: a parameter is missing, or of another shape or dtype, or the file is damaged.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"{path}: the model is damaged or cut off ({error})") from None

    def leaf(name: str, like: jax.ShapeDtypeStruct) -> jax.Array:
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (like.shape, like.dtype):
            shown = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise UserError(
                f"{path}: {name} is {shown}; by the config it is {like.dtype} {list(like.shape)}"
            )
        return jax.device_put(found, jax.local_devices()[0])

    return map_named(leaf, abstract)
