"""A GGUF file as a Hugging Face folder would have it: config, tensors, tokenizer (extra `gguf`).

The tokenizer is the one that `transformers` makes of the same file; its weights are dequantised.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers

from mmrec_jax.errors import UserError
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import from_hugging_face, tensors
from mmrec_jax.pretrained.shards import LazyTensor
from mmrec_jax.tokenizers.bpe_file import ALPHABET, spell
from mmrec_jax.tokenizers.chat_template import ChatTemplate
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_FIELDS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Of `tokenizer.ggml.pre`: what text is split by before BPE; "" is GPT-2's own expression.
_SPLITS = {
    "smollm": "",  # its own tokenizer parts digits too, which `transformers` does not do here
    "gpt-2": "",
    "qwen2": _QWEN2,
    "llama-bpe": _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),
}
_CONTROL, _USER_DEFINED = 3, 4  # token types


def open_gguf(path: Path) -> tuple[TransformerConfig, dict[str, LazyTensor], Tokenizer]:
    """A file's config, its tensors by the names of `transformers`, and its tokenizer.

    Tensors are dequantised, to float32, when they are read.

    Raises:
      UserError: the package is missing, the file cannot be read or is damaged, its model is none
        that the family `transformer` computes, or its tokenizer is of a kind that is not known.
    """
    try:
        import gguf
    except ImportError:
        raise UserError(
            f"{path} is read with gguf, which is not installed: pip install 'mmrec_jax[gguf]'"
        ) from None
    try:
        reader = gguf.GGUFReader(path)
        facts = {name: field.contents() for name, field in reader.fields.items()}
        stored = {each.name: each for each in reader.tensors}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # the package checks nothing, and meets what is wrong anywhere
        raise UserError(f"{path}: this GGUF file is cut off or damaged ({error})") from None
    kind = facts.get("general.architecture")
    described = {
        theirs: facts[f"{kind}.{ours}"]
        for ours, theirs in _FIELDS.items()
        if f"{kind}.{ours}" in facts
    }
    if (scaling := facts.get(f"{kind}.rope.scaling.type", "none")) != "none":
        described["rope_scaling"] = {"rope_type": scaling}
    described |= {
        "model_type": kind,
        "vocab_size": len(facts.get("tokenizer.ggml.tokens", ())),
        "tie_word_embeddings": "output.weight" not in stored,
        "rms_norm_eps": _shortest(described.get("rms_norm_eps", 1e-6)),
    }
    config = from_hugging_face(described, str(path))
    permuted = (
        {"q_proj": config.num_heads, "k_proj": config.num_kv_heads} if kind == "llama" else {}
    )
    (architecture,) = (each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == kind)
    names = gguf.get_tensor_name_map(architecture, config.num_layers)
    found = {}
    for theirs in tensors(config):
        module, _, part = theirs.rpartition(".")
        own = stored.pop(f"{names.get_name(module)}.{part}", None)
        if own is not None:
            found[theirs] = _tensor(own, permuted.get(module.split(".")[-1]), gguf.dequantize)
    others = {name: _tensor(each, None, gguf.dequantize) for name, each in stored.items()}
    return config, found | others, _tokenizer(path, facts)


def _shortest(number: float) -> float:
    """What was meant by a number that was stored as float32: 1e-05, not 9.999999747e-06."""
    return float(str(np.float32(number)))


def _tensor(
    stored: Any, heads: int | None, dequantise: Callable[[Any, Any], NDArray[Any]]
) -> LazyTensor:
    """With `heads` of q or k, whose rows llama.cpp interleaves: those of a head's two halves."""
    shape = tuple(int(size) for size in reversed(stored.shape))
    order = np.arange(shape[0])
    if heads is not None:
        order = order.reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)

    def read(first: int, last: int) -> NDArray[Any]:
        rows = dequantise(stored.data[order[first:last]], stored.tensor_type)
        return np.ascontiguousarray(rows, np.float32).reshape(-1, *shape[1:])

    return LazyTensor(shape, np.dtype(np.float32), read)


def _tokenizer(path: Path, facts: Mapping[str, Any]) -> Tokenizer:
    own = {name.removeprefix("tokenizer.ggml."): value for name, value in facts.items()}
    split = _SPLITS.get(own.get("pre", "gpt-2"))
    if own.get("model") != "gpt2" or split is None:
        raise UserError(
            f"{path}: its tokenizer is {own.get('model')!r}, {own.get('pre')!r}; of GGUF files "
            f"'gpt2' (byte-level BPE) is read, {', '.join(_SPLITS)}: name the model's Hugging Face "
            "folder instead"
        )
    # A token in other characters than those that bytes are spelled in is no word of BPE.
    names, kinds = own.get("tokens", ()), own.get("token_type", ())
    spelled = [set(token) <= ALPHABET for token in names]
    words = [t if known else spell(t) for t, known in zip(names, spelled, strict=True)]
    added = [
        tokenizers.AddedToken(words[index], special=kind == _CONTROL, normalized=False)
        for index, kind in enumerate(kinds)
        if kind in (_CONTROL, _USER_DEFINED) and spelled[index]
    ]
    try:
        merges = [tuple(merge.split(" ")) for merge in own.get("merges", ())]
        library = tokenizers.Tokenizer(models.BPE({x: i for i, x in enumerate(words)}, merges))
    except Exception as error:  # the library has no class of its own
        raise UserError(f"{path}: its tokenizer is damaged ({error})") from None
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)
    parts = [pre_tokenizers.Split(tokenizers.Regex(split), "isolated")] if split else []
    library.pre_tokenizer = pre_tokenizers.Sequence([*parts, byte_level])
    library.decoder = decoders.ByteLevel()
    library.add_tokens(added)
    ids = {
        "bos": "bos_token_id",
        "eos": "eos_token_id",
        "unk": "unknown_token_id",
        "pad": "padding_token_id",
    }
    named = {f"{name}_token": words[own[key]] for name, key in ids.items() if key in own}
    tokenizer = HuggingFaceTokenizer.from_content(
        library.to_str().encode(),
        str(path),
        named.get("bos_token", ""),
        named.get("eos_token", ""),
    )
    tokenizer.loader_settings = named | {"add_bos_token": own.get("add_bos_token", False)}
    if template := facts.get("tokenizer.chat_template"):
        tokenizer.chat_template = ChatTemplate(path.stem, template)
    return tokenizer
