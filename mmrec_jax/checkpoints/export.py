"""A model in a folder of its own that needs no base: exported to safetensors, or as a checkpoint.

`model.safetensors` holds each parameter under its path (`blocks/ffn/down/kernel`), and the facts
`step`, `config` and `tokenizer` (fingerprint), all covered by a checksum since version 2
(`tensor_file.py`). `config.json` and `tokenizer/` are those of a run, so that the folder is read
like a run.
"""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import jax

from mmrec_jax.adapter_config import AdapterConfig, ExtendConfig
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.tensor_file import TensorFormat
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.models.family_config import ExtendableConfig
from mmrec_jax.models.vocabulary import one_table
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import map_named, named_leaves

EXPORT_FORMAT = TensorFormat("model of mmrec export", key="mmrec_jax model", version=2, unchecked=1)
_FACTS = {"step": int, "config": dict, "tokenizer": str}


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
    """Writes an exported model, with all files of `tokenizer_folder`; `config` has no adapters.

    Old and new rows of a vocabulary become one table.

    Returns:
      The bytes of `model.safetensors`.

    Raises:
      UserError: there is something in the folder, or it cannot be written.
    """
    target = require_new_folder(folder)
    config, params = _with_one_table(config, params)
    facts = {"step": step, "config": to_dict(config), "tokenizer": tokenizer.fingerprint}
    _write_files(target, config, vocab_size, tokenizer_folder)
    return EXPORT_FORMAT.write(target.model_file, named_leaves(params), facts)


def write_merged(
    folder: str | os.PathLike[str],
    config: Config,
    params: Any,
    tokenizer: Tokenizer,
    tokenizer_folder: Path,
    *,
    vocab_size: int,
    step: int,
) -> None:
    """As `write_exported`, a folder like a run's, to begin with (`init_from`), not to continue."""
    target = require_new_folder(folder)
    config, params = _with_one_table(config, params)
    _write_files(target, config, vocab_size, tokenizer_folder)
    origin = {"config": to_dict(config), "tokenizer": tokenizer.fingerprint}
    meta = origin | {"validation": None, "base": None}
    checkpointer = Checkpointer(target.checkpoints)
    checkpointer.save(step, {"params": params}, data={}, meta=meta, validation_loss=None)
    checkpointer.close()


def stand_alone(config: Config) -> Config:
    """The config of a model that needs no base."""
    return dataclasses.replace(
        config, init_from="", adapters=AdapterConfig(), extend=ExtendConfig()
    )


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
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def leaf(name: str, like: jax.ShapeDtypeStruct) -> jax.Array:
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (like.shape, like.dtype):
            shown = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise UserError(
                f"{path}: {name} is {shown}; by the config it is {like.dtype} {list(like.shape)}"
            )
        place = like.sharding or here
        return jax.make_array_from_callback(found.shape, place, found.__getitem__)

    return map_named(leaf, abstract)


def _with_one_table(config: Config, params: Any) -> tuple[Config, Any]:
    if not isinstance(config.model, ExtendableConfig) or not config.model.new_rows:
        return config, params
    model = dataclasses.replace(config.model, new_rows=0)
    return dataclasses.replace(config, model=model), one_table(params)


def _write_files(target: Workdir, config: Config, vocab_size: int, tokenizer_folder: Path) -> None:
    try:
        target.root.mkdir(parents=True, exist_ok=True)
        shutil.copytree(tokenizer_folder, target.tokenizer)
        target.write_config(config, vocab_size)
    except OSError as error:
        raise UserError(f"{target.root}: cannot write: {error.strerror or error}") from None
