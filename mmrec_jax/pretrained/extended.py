"""A model whose vocabulary is extended: the rows that its new tokens begin with.

The rows of old tokens and those of all ids behind them are two tables of the model, so that the new
ones are trained while the old ones are frozen, and neither is ever copied into one matrix.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from mmrec_jax.adapter_config import ExtendConfig
from mmrec_jax.models.api import Params
from mmrec_jax.models.family_config import ExtendableConfig, FamilyConfig
from mmrec_jax.quantised import dequantise
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.cache import read_tokenizer_file
from mmrec_jax.tokenizers.embeddings import constituents, first_rows
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.mesh import process_local, shardings

_TABLES = ("embed", "head")
_READ = 4_096  # rows that are read at once, or a multiple


@jax.jit
def _rows(table: Any, index: Any) -> Any:
    return dequantise(jax.tree.map(lambda x: x[index], table))


def read_extended(config: ExtendConfig, model: FamilyConfig, base: Tokenizer) -> Tokenizer:
    """The tokenizer that `config` names, which begins and ends texts as the model's, `base`, does.

    Raises:
      UserError: as `extend`; or the tokenizer cannot be read, or lacks the tokens for that.
    """
    _require_extendable(config, model, base)
    path = Path(config.tokenizer).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    ends = base.id_to_piece(base.bos_id), base.id_to_piece(base.eos_id)
    tokenizer = read_tokenizer_file(path, "config.extend.tokenizer", *ends)
    tokenizer.chat_template = tokenizer.chat_template or base.chat_template
    tokenizer.stop_ids = base.stop_ids
    tokenizer.begins_prompts = base.begins_prompts
    tokenizer.generation_settings = base.generation_settings
    return tokenizer


def extend(
    config: ExtendConfig, model: FamilyConfig, base: Tokenizer, tokenizer: Tokenizer
) -> tuple[ExtendableConfig, Callable[[Params, Mesh | None], Params]]:
    """How a model with the tokenizer `base` gets the tokens of `tokenizer`.

    Returns:
      The model with the new rows; and what makes its parameters of the base's, on their device or
      as the model says on a mesh.

    Raises:
      UserError: the model's family has no new rows or the model has some already, or `tokenizer` is
        not `base`, a tokenizer.json, with more tokens.
    """
    found = _require_extendable(config, model, base)
    before = BpeFile.from_content(base.content, "the tokenizer of config.init_from")
    after = BpeFile.from_content(tokenizer.content, f"config.extend.tokenizer {config.tokenizer}")
    parts = constituents(before, after)
    ids = before.next_id + len(parts)
    rows = -(-max(ids, found.vocab_size) // config.multiple) * config.multiple
    new, padding = rows - before.next_id, rows - ids
    extended = dataclasses.replace(found, vocab_size=rows, new_rows=new, padding_rows=padding)

    def split(table: Params, mesh: Mesh | None) -> Params:
        old = table["embedding"]

        def read(index: NDArray[Any]) -> NDArray[Any]:
            padded = np.zeros(-(-len(index) // _READ) * _READ, np.int32)  # few shapes to compile
            padded[: len(index)] = index
            return np.asarray(process_local(_rows(old, padded)))[: len(index)]

        added = first_rows(read, before.next_id, parts, config.method, new, old.dtype)
        cut = jax.eval_shape(first, old)
        shapes = {"embedding": cut, "new_embedding": added}
        where = shardings(shapes, extended.build().partition_specs(shapes), mesh)
        placed = where["new_embedding"]
        return {
            "embedding": jax.jit(first, out_shardings=where["embedding"])(old),
            "new_embedding": jax.make_array_from_callback(added.shape, placed, added.__getitem__),
        }

    def first(table: Any) -> Any:
        return jax.tree.map(lambda x: x[: before.next_id], table)

    def apply(params: Params, mesh: Mesh | None) -> Params:
        tables = {name: split(params[name], mesh) for name in _TABLES if name in params}
        return params | tables

    return extended, apply


def _require_extendable(
    config: ExtendConfig, model: FamilyConfig, base: Tokenizer
) -> ExtendableConfig:
    if not isinstance(model, ExtendableConfig):
        expected = f"empty where the model is of family {model.family}, which has no new rows"
        config.require(False, "tokenizer", expected)
    assert isinstance(model, ExtendableConfig)
    expected = "empty where the model was extended before (mmrec export makes one table of both)"
    config.require(not model.new_rows, "tokenizer", expected)
    expected = (
        f"empty where the model's own is of kind {base.kind}; a model that is trained with "
        "config.tokenizer.kind=byte_bpe can be extended"
    )
    config.require(isinstance(base, HuggingFaceTokenizer), "tokenizer", expected)
    return model
