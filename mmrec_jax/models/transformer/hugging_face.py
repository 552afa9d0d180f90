"""Names of `transformers` and ours: the fields of a `config.json`, and the tensors of a model.

Nothing here reads or writes a file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmrec_jax.errors import UserError
from mmrec_jax.models.transformer.config import TransformerConfig

# Of each model type: the class of `transformers`, and what its configs mean by leaving a field out.
_TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 128}),
}
_FIELDS = {
    "vocab_size": "vocab_size",
    "model_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "ffn_dim": "intermediate_size",
    "norm_epsilon": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
    "max_length": "max_position_embeddings",
}
_DEFAULTS = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_position_embeddings": 2048}
# The only value of a field that this family computes.
_ONLY = {
    "hidden_act": "silu",
    "mlp_bias": False,
    "use_sliding_window": False,
    "attention_dropout": 0,
    "partial_rotary_factor": 1,
    "quantization_config": None,
}
_DTYPES = {None: "float32", "float32": "float32", "float16": "float32", "bfloat16": "bfloat16"}
_SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_ROPE = {"rope_theta", "rope_type", "type", "partial_rotary_factor", *_SCALING}


def from_hugging_face(found: Mapping[str, Any], where: str) -> TransformerConfig:
    """The config of the model that a `config.json` describes; `where` is its path, for messages.

    `param_dtype` is that of the file, float32 for float16, which bfloat16 cannot hold.

    Raises:
      UserError: names the field that is missing, or that says what this family does not compute.
    """

    def refuse(name: str, value: Any, expected: str) -> UserError:
        return UserError(f"{where}: {name} is {value!r}; of these models it must be {expected}")

    kind = found.get("model_type")
    if kind not in _TYPES:
        raise refuse("model_type", kind, f"one of {', '.join(_TYPES)}")
    rope = found.get("rope_parameters") or found.get("rope_scaling") or {}
    for name, expected in _ONLY.items():
        for group in (found, rope):
            if group.get(name) not in (None, expected):
                raise refuse(name, group[name], repr(expected))
    for layer in found.get("layer_types") or ():
        if layer != "full_attention":
            raise refuse("layer_types", layer, "'full_attention' in every layer")
    for name in rope.keys() - _ROPE:
        raise refuse(f"rope_parameters.{name}", rope[name], "absent")
    dtype = found.get("dtype", found.get("torch_dtype"))
    if dtype not in _DTYPES:
        raise refuse("dtype", dtype, "float32, float16 or bfloat16")

    given = _DEFAULTS | _TYPES[kind][1] | {k: x for k, x in found.items() if x is not None}
    for name in ("hidden_size", "num_attention_heads"):
        if not (isinstance(given.get(name), int) and given[name] > 0):
            raise refuse(name, given.get(name), "a whole number above 0")
    given.setdefault("num_key_value_heads", given["num_attention_heads"])
    given.setdefault("head_dim", given["hidden_size"] // given["num_attention_heads"])
    for name in _FIELDS.values():
        if name not in given:
            raise refuse(name, None, "given")
    fields: dict[str, Any] = {ours: given[theirs] for ours, theirs in _FIELDS.items()}
    fields["rope_theta"] = rope.get("rope_theta") or given.get("rope_theta", 10_000.0)
    fields["rope_scaling"] = _scaling(rope, refuse)
    fields["qk_norm"] = kind == "qwen3"
    biased = given.get("attention_bias", False)
    fields["attention_bias"] = "qkv" if kind == "qwen2" else "qkvo" if biased else "none"
    fields |= {"dtype": _DTYPES[dtype], "param_dtype": _DTYPES[dtype]}
    try:
        return TransformerConfig(**fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _scaling(rope: Mapping[str, Any], refuse: Any) -> tuple[Any, ...] | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise refuse("rope_type", kind, "'default' or 'llama3'")
    for name in _SCALING:
        if name not in rope:
            raise refuse(f"rope_parameters.{name}", None, "given")
    return tuple(rope[name] for name in _SCALING)


def to_hugging_face(config: TransformerConfig) -> dict[str, Any]:
    """The `config.json` of a model, as versions 4 and 5 of `transformers` read it.

    Raises:
      UserError: no class of `transformers` has such a model.
    """
    kind = "qwen3" if config.qk_norm else "qwen2" if config.attention_bias == "qkv" else "llama"
    if config.qk_norm and config.attention_bias == "qkv":
        config.require(False, "attention_bias", "none or qkvo with qk_norm, to be exported")
    if kind == "llama" and config.model_dim % config.num_heads:
        config.require(False, "num_heads", "a divisor of model_dim, to be exported as Llama")
    fields: dict[str, Any] = {"architectures": [_TYPES[kind][0]], "model_type": kind}
    fields |= {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    fields |= {"hidden_act": "silu", "rope_theta": config.rope_theta}
    fields |= {"torch_dtype": config.param_dtype, "use_cache": True}
    if config.rope_scaling is not None:
        scaling = zip(_SCALING, config.rope_scaling, strict=True)
        fields["rope_scaling"] = {"rope_type": "llama3", **dict(scaling)}
    if kind != "qwen2":
        fields["attention_bias"] = config.attention_bias == "qkvo"
    if kind != "llama":
        fields["use_sliding_window"] = False
    return fields


class Tensor(NamedTuple):
    """Where a tensor of theirs is in ours."""

    path: str  # of the parameter, such as blocks/q/kernel
    layer: int | None  # index of axis 0, of what is stacked
    transposed: bool  # theirs is [out, in]


def tensors(config: TransformerConfig) -> dict[str, Tensor]:
    """Every tensor of the model by the name that `transformers` gives it.

    Embeddings are those of `embed/embedding` and `head/embedding`; rows of `new_embedding` come
    behind them in the same tensor.
    """
    named = {"model.embed_tokens.weight": Tensor("embed/embedding", None, False)}
    products = {name: f"self_attn.{name}_proj" for name in "qkvo"}
    products |= {name: f"mlp.{name}_proj" for name in ("gate", "up", "down")}
    norms = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    if config.qk_norm:
        norms |= {name: f"self_attn.{name}" for name in ("q_norm", "k_norm")}
    for layer in range(config.num_layers):
        before = f"model.layers.{layer}"
        for ours, theirs in norms.items():
            named[f"{before}.{theirs}.weight"] = Tensor(f"blocks/{ours}/scale", layer, False)
        for ours, theirs in products.items():
            named[f"{before}.{theirs}.weight"] = Tensor(f"blocks/{ours}/kernel", layer, True)
            if ours in config.biased:
                named[f"{before}.{theirs}.bias"] = Tensor(f"blocks/{ours}/bias", layer, False)
    named["model.norm.weight"] = Tensor("final_norm/scale", None, False)
    if not config.tie_embeddings:
        named["lm_head.weight"] = Tensor("head/embedding", None, False)
    return named
