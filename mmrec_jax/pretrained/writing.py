"""A model as a folder that `AutoModelForCausalLM` and `AutoTokenizer` load as it is."""

import dataclasses
import json
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
from mmrec_jax.models.vocabulary import one_table
from mmrec_jax.pretrained.published import GENERATION_FILE, MODEL_FILE, OURS, TOKENIZER_FILE
from mmrec_jax.pretrained.shards import SINGLE_FILE, LazyTensor, write_shards
from mmrec_jax.quantised import Quantised
from mmrec_jax.tokenizers.cache import token_name
from mmrec_jax.tokenizers.chat_template import CONFIG_FILE, TEMPLATE_FILE
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import named_leaves, path_name
from mmrec_jax.typing import Array

SHARD_BYTES = 5_000_000_000
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
    the embedding is written as untied. Tensors keep their dtypes, and come to the host file by
    file. Quantised parameters make it a folder that only we read (`reading.py`).

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
    params = one_table(params)
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
        arrays, table = leaves, tensors(config)
        if any(isinstance(leaf, Quantised) for leaf in leaves.values()):
            described["quantization_config"] = OURS
            arrays = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(params)}
            table = {name: Tensor(name, layer=None, transposed=False) for name in arrays}
        new = {name: _new_tensor(arrays[each.path], each) for name, each in table.items()}
        files = write_shards(folder / SINGLE_FILE, new, shard_bytes)
        _write_json(folder / GENERATION_FILE, generation)
        _write_json(folder / MODEL_FILE, described)
    except OSError as error:
        raise UserError(f"{folder}: cannot write: {error.strerror or error}") from None
    names = [TOKENIZER_FILE, CONFIG_FILE, *([TEMPLATE_FILE] if template else []), GENERATION_FILE]
    return [*files, MODEL_FILE, *names]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _new_tensor(array: Array, tensor: Tensor) -> LazyTensor:
    """A parameter as a tensor of theirs, or a layer of one."""
    shape = array.shape[0 if tensor.layer is None else 1 :]

    def read() -> NDArray[Any]:
        one = np.asarray(array if tensor.layer is None else _layer(array, tensor.layer))
        return one.T if tensor.transposed else one

    return LazyTensor(shape[::-1] if tensor.transposed else shape, np.dtype(array.dtype), read)


@jax.jit
def _layer(array: Array, index: Array | int) -> Array:
    return jax.lax.dynamic_index_in_dim(array, index, keepdims=False)
