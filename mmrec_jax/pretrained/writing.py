"""A model as a folder that `AutoModelForCausalLM` and `AutoTokenizer` load as it is."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.conversations.encoder import ChatEncoder
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import Params
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import Tensor, tensors, to_hugging_face
from mmrec_jax.pretrained.published import GENERATION_FILE, MODEL_FILE, OURS, TOKENIZER_FILE
from mmrec_jax.pretrained.quantised_folder import quantised_tensors
from mmrec_jax.pretrained.shards import NewTensor, write_shards
from mmrec_jax.quantised import Quantised
from mmrec_jax.tokenizers.cache import token_name
from mmrec_jax.tokenizers.chat_template import CONFIG_FILE, TEMPLATE_FILE
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import named_leaves
from mmrec_jax.typing import Array

SHARD_BYTES = 5_000_000_000
_TABLE_ROWS = 8192  # of a table that come to the host at once
_CLASS = "PreTrainedTokenizerFast"  # which takes a tokenizer.json as it is


def write_published(
    folder: Path,
    config: TransformerConfig,
    params: Params,
    tokenizer: Tokenizer,
    shard_bytes: int = SHARD_BYTES,
) -> list[str]:
    """Writes a model into a new folder; `MODEL_FILE` comes last and marks it complete.

    Old and new rows of a vocabulary become one matrix, and where the head has a matrix of its own
    the embedding is written as untied. Tensors keep their dtypes, and come to the host one by one.
    Quantised parameters make it a folder of `quantised_folder.py`, which only we read.

    Returns:
      The names of the files.

    Raises:
      UserError: the tokenizer is no tokenizer.json, `transformers` has no such model, or the files
        cannot be written.
    """
    if not isinstance(tokenizer, HuggingFaceTokenizer):
        raise UserError(
            f"{folder}: a tokenizer of kind {tokenizer.kind} is no {TOKENIZER_FILE}, which "
            "transformers reads; --config.tokenizer.kind=byte_bpe trains one with the run"
        )
    config = dataclasses.replace(config, tie_embeddings="head" not in params)
    leaves = named_leaves(params)
    template, settings = tokenizer.chat_template, dict(tokenizer.loader_settings)
    stops = ChatEncoder(template, tokenizer).stops if template else ()
    ends = list(dict.fromkeys((*tokenizer.ends, *stops)))
    begins = tokenizer.bos_id != tokenizer.eos_id or settings.get("bos_token")
    marks = {
        "bos_token_id": tokenizer.bos_id if begins else None,
        "pad_token_id": tokenizer.piece_to_id(token_name(settings.get("pad_token"))),
    }
    described = to_hugging_face(config) | {"eos_token_id": ends[0], **marks}
    described["torch_dtype"] = str(leaves["embed/embedding"].dtype)
    generation = dict(tokenizer.generation_settings)
    generation |= {name: x for name, x in marks.items() if x is not None or name not in generation}
    generation["eos_token_id"] = ends if ends[1:] else ends[0]
    settings |= {
        "tokenizer_class": _CLASS,
        "eos_token": tokenizer.id_to_piece(ends[0]),
        "bos_token": tokenizer.id_to_piece(tokenizer.bos_id) if begins else None,
    }
    settings.setdefault("model_max_length", config.max_length)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOKENIZER_FILE).write_bytes(tokenizer.content)
        _write_json(folder / CONFIG_FILE, settings)
        if template is not None:
            (folder / TEMPLATE_FILE).write_text(template.source, "utf-8")
        if any(isinstance(leaf, Quantised) for leaf in leaves.values()):
            new, described["quantization_config"] = quantised_tensors(leaves), OURS
        else:
            new = {name: _new_tensor(leaves, each) for name, each in tensors(config).items()}
        files = write_shards(folder, new, shard_bytes)
        _write_json(folder / GENERATION_FILE, generation)
        _write_json(folder / MODEL_FILE, described)
    except OSError as error:
        raise UserError(f"{folder}: cannot write: {error.strerror or error}") from None
    names = [TOKENIZER_FILE, CONFIG_FILE, *([TEMPLATE_FILE] if template else []), GENERATION_FILE]
    return [*files, MODEL_FILE, *names]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _new_tensor(leaves: dict[str, Array], tensor: Tensor) -> NewTensor:
    leaf = leaves[tensor.path]
    dtype = np.dtype(leaf.dtype)
    if tensor.layer is None and leaf.ndim == 2:
        tables = [leaf, *_new_rows(leaves, tensor.path)]
        rows = sum(len(table) for table in tables)
        return NewTensor((rows, leaf.shape[1]), dtype, lambda: _table(tables, dtype))
    one = leaf.shape if tensor.layer is None else leaf.shape[1:]
    shape = one[::-1] if tensor.transposed else one

    def parts() -> Iterator[NDArray[Any]]:
        layer = leaf if tensor.layer is None else _layer(leaf, tensor.layer)
        yield np.asarray(layer.T if tensor.transposed else layer)

    return NewTensor(shape, dtype, parts)


def _new_rows(leaves: dict[str, Array], path: str) -> list[Array]:
    beside = f"{path.rpartition('/')[0]}/new_embedding"
    return [leaves[beside]] if beside in leaves else []


def _table(tables: list[Array], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for table in tables:
        for first in range(0, len(table), _TABLE_ROWS):
            yield np.asarray(table[first : first + _TABLE_ROWS], dtype)


@jax.jit
def _layer(leaf: Array, index: Array | int) -> Array:
    return jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False)
