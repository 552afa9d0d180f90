"""What a `config.json` says, and what is refused of it, by name."""

import json

import pytest

from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import from_hugging_face, tensors, to_hugging_face
from tests.refused import refused

# As the hub has it, written by transformers 4.
_QWEN3_8B = json.loads("""{
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
  "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 12288,
  "max_position_embeddings": 40960, "max_window_layers": 36, "model_type": "qwen3",
  "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
  "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
  "use_cache": true, "use_sliding_window": false, "vocab_size": 151936
}""")
_SCALING = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "factor": 8.0}
_LLAMA3 = {**_SCALING, "rope_type": "llama3", "original_max_position_embeddings": 8192}


def _read(**changes):
    found = {name: x for name, x in {**_QWEN3_8B, **changes}.items() if x != "absent"}
    return from_hugging_face(found, "folder/config.json")


def test_qwen3_8b():
    assert _read() == TransformerConfig(
        vocab_size=151936,
        model_dim=4096,
        num_layers=36,
        num_heads=32,
        num_kv_heads=8,
        head_dim=128,
        ffn_dim=12288,
        rope_theta=1e6,
        qk_norm=True,
        tie_embeddings=False,
        max_length=40960,
        dtype="bfloat16",
        param_dtype="bfloat16",
    )
    assert len(tensors(_read())) == 3 + 36 * 11


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_theta": "absent", "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
        {"torch_dtype": "absent", "dtype": "bfloat16", "head_dim": None},
        {"layer_types": ["full_attention"] * 36, "use_sliding_window": None},
    ],
)
def test_the_same_in_the_words_of_another_version(changes):
    assert _read(**changes) == _read()


def test_what_a_field_left_out_means():
    llama = {"model_type": "llama", "head_dim": "absent", "num_key_value_heads": "absent"}
    assert (_read(**llama).head_dim, _read(**llama).num_kv_heads) == (128, 32)
    assert _read(**llama, num_attention_heads=64).head_dim == 64
    assert _read(rope_scaling=_LLAMA3).rope_scaling == (8.0, 1.0, 4.0, 8192)
    assert _read(model_type="qwen2").attention_bias == "qkv"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gemma3"}, "model_type is 'gemma3'"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type is 'yarn'"),
        ({"rope_scaling": {**_SCALING, "rope_type": "llama3"}}, "original_max_position_embeddings"),
        ({"rope_parameters": {"full_attention": {}}}, "rope_parameters.full_attention"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"attention_dropout": 0.1}, "attention_dropout is 0.1"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"torch_dtype": "float8"}, "dtype is 'float8'"),
        ({"hidden_size": "absent"}, "hidden_size is None"),
        ({"intermediate_size": "absent"}, "intermediate_size is None"),
        ({"num_key_value_heads": 5}, "config.model.num_kv_heads is 5"),
        ({"vocab_size": "many"}, "config.model.vocab_size is 'many'"),
    ],
)
def test_what_is_refused(changes, named):
    refused(lambda: _read(**changes), "folder/config.json: ", named)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"qk_norm": True, "attention_bias": "qkv"}, "config.model.attention_bias"),
        ({"num_heads": 6, "num_kv_heads": 3}, "config.model.num_heads"),
    ],
)
def test_a_model_that_transformers_has_no_class_for(fields, named):
    refused(lambda: to_hugging_face(TransformerConfig(**fields)), named)
