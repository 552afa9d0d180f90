"""A pretrained model by its name: a Hugging Face folder, a GGUF file, or a Hub id (`org/name`)."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import from_hugging_face
from mmrec_jax.pretrained.gguf_file import open_gguf
from mmrec_jax.pretrained.shards import LazyTensor, open_shards
from mmrec_jax.tokenizers.cache import CONFIG_FILE, read_tokenizer_file
from mmrec_jax.tokenizers.chat_template import TEMPLATE_FILE
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.tokenizer import Tokenizer

MODEL_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
TOKENIZER_FILE = "tokenizer.json"
_TOKENIZER_FILES = (TOKENIZER_FILE, CONFIG_FILE, TEMPLATE_FILE)
_MODEL_FILES = (MODEL_FILE, GENERATION_FILE, "model*.safetensors", "model.safetensors.index.json")
# The quantization_config of `mmrec quantise`: transformers does not know it, and refuses it.
OURS = {"quant_method": "mmrec_jax"}
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclasses.dataclass(frozen=True)
class Published:
    """A pretrained model as its files describe it; no number of it is read yet."""

    name: str  # as it was given; of a folder or file its whole path
    config: TransformerConfig
    tokenizer: Tokenizer
    tensors: Mapping[str, LazyTensor]  # by the names of `transformers`


def find_published(name: str | os.PathLike[str]) -> Path | str | None:
    """The path or the Hub id that a name means, if it means a pretrained model of others.

    A name such as `runs/tiny` may be either: where there is a folder `runs`, it is a path.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and not path.is_dir():
        return path
    if (path / MODEL_FILE).is_file():
        # That of a run has `config` and `vocab_size`.
        return path if "model_type" in read_json_object(path / MODEL_FILE) else None
    hub = _HUB_ID.fullmatch(str(name)) and not path.exists() and not path.parent.exists()
    return str(name) if hub else None


def open_published(found: Path | str) -> Published:
    """The model that `find_published` has found.

    Raises:
      UserError: it cannot be downloaded, a file is missing or damaged, or the model is not one that
        the family `transformer` computes.
    """
    if isinstance(found, Path) and found.suffix == ".gguf":
        config, tensors, tokenizer = open_gguf(found)
        tokenizer.begins_prompts = _begins_prompts(tokenizer)
        return Published(str(found.resolve()), config, tokenizer, tensors)
    folder = found if isinstance(found, Path) else _download(found, _MODEL_FILES + _TOKENIZER_FILES)
    where = str(folder / MODEL_FILE)
    description = read_json_object(folder / MODEL_FILE)
    if description.get("quantization_config") == OURS:
        del description["quantization_config"]
    config = from_hugging_face(description, where)
    generation = folder / GENERATION_FILE
    said = read_json_object(generation) if generation.is_file() else {}
    tokenizer = _read_tokenizer(folder, [said, description])
    tokenizer.generation_settings = said
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{where}: vocab_size is {config.vocab_size}, but {TOKENIZER_FILE} has "
            f"{tokenizer.vocab_size} ids: they belong to different models"
        )
    name = str(found.resolve()) if isinstance(found, Path) else found
    return Published(name, config, tokenizer, open_shards(folder))


def tokenizer_file(name: str) -> Path:
    """The tokenizer.json that a name means: a pretrained model's, or a file by its path."""
    found = find_published(name)
    if isinstance(found, str):
        return _download(found, _TOKENIZER_FILES) / TOKENIZER_FILE
    return Path(name) / TOKENIZER_FILE if Path(name).is_dir() else Path(name)


def _read_tokenizer(folder: Path, descriptions: Iterable[Mapping[str, Any]]) -> Tokenizer:
    """The tokenizer of a folder, with its template and every id that ends a text.

    `descriptions` are generation_config.json and config.json: the first that has an `eos_token_id`,
    or a list of them, says where a text may end beside the tokenizer's own end.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise UserError(
            f"{folder}: there is no {TOKENIZER_FILE}; AutoTokenizer.from_pretrained and "
            "save_pretrained of transformers write one"
        )
    given = (each.get("eos_token_id") for each in descriptions)
    ids = next((x if isinstance(x, list) else [x] for x in given if x is not None), [])
    settings = folder / CONFIG_FILE
    named = read_json_object(settings) if settings.is_file() else {}
    end = ""
    if ids and not named.get("eos_token"):
        end = read_library(path.read_bytes(), str(path)).id_to_token(ids[0]) or ""
    tokenizer = read_tokenizer_file(path, str(folder), end=end)
    tokenizer.stop_ids = tuple(x for x in ids if x != tokenizer.eos_id)
    tokenizer.begins_prompts = _begins_prompts(tokenizer)
    return tokenizer


def _begins_prompts(tokenizer: Tokenizer) -> bool:
    """Whether `transformers` puts the begin token before each text for this model."""
    said = tokenizer.loader_settings.get("add_bos_token")
    if said is not None:
        return bool(said)
    library = tokenizers.Tokenizer.from_str(tokenizer.content.decode("utf-8"))
    return library.encode("a").ids[:1] == [tokenizer.bos_id]


def _download(name: str, patterns: Iterable[str]) -> Path:
    """The folder with the files of a Hub id, which are downloaded where the cache lacks them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # of the network, of the Hub, of the disk
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if isinstance(error, LocalEntryNotFoundError):
            reason = "the Hub cannot be reached, and the cache does not have it"
        raise UserError(
            f"{name}: there is no run here, and no model of that name on the Hugging Face Hub "
            f"({reason})"
        ) from None
