"""Decoders beside those of `transformers`: logits, all gradients, texts, and names of both sides.

Untrained ones whose norms, biases and weights are moved far from their start: a norm of ones or a
bias of zeros would hide what is done with it.
"""

import copy
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mmrec_jax
from mmrec_jax.inference.generate import stream
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.models.transformer.hugging_face import from_hugging_face, tensors, to_hugging_face
from mmrec_jax.tree import map_named, named_leaves

torch = pytest.importorskip("torch", reason="needs the extra parity: pip install '.[parity]'")
transformers = pytest.importorskip(
    "transformers", reason="needs the extra parity: pip install '.[parity]'"
)

_SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e4,
    "max_position_embeddings": 512,
}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_MODELS = {
    "qwen3": ("Qwen3Config", {"head_dim": 16, "tie_word_embeddings": False}),
    "qwen3 tied, biased": ("Qwen3Config", {"head_dim": 12, "attention_bias": True}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": False}),
    "qwen2 tied": ("Qwen2Config", {}),
    "llama": ("LlamaConfig", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
    "llama tied": ("LlamaConfig", {"num_key_value_heads": 1}),
    "llama 3.1": (
        "LlamaConfig",
        {
            "tie_word_embeddings": False,
            "head_dim": 16,
            "rope_theta": 500.0,  # one of eight frequencies is between those kept and those divided
            "rope_scaling": _LLAMA3 | {"original_max_position_embeddings": 128},
        },
    ),
}


@functools.cache
def _theirs(name):
    kind, fields = _MODELS[name]
    config = getattr(transformers, kind)(**{**_SHAPE, "tie_word_embeddings": True, **fields})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for key, leaf in model.named_parameters():
            if "norm" in key:
                leaf.copy_(1 + 0.3 * torch.randn_like(leaf))
            else:
                scale = 0.5 if leaf.ndim == 1 or "embed" in key else leaf.shape[1] ** -0.5
                leaf.copy_(scale * torch.randn_like(leaf))
    return model


def _as_ours(config, named):
    """Our tree of tensors under the names of theirs, each of which is used."""
    shapes = jax.eval_shape(config.build().init, jax.random.key(0))
    leaves = {path: np.zeros(x.shape, np.float32) for path, x in named_leaves(shapes).items()}
    known = tensors(config)
    assert named.keys() == known.keys()
    for name, (path, layer, transposed) in known.items():
        value = named[name].detach().float().numpy()
        leaves[path][... if layer is None else layer] = value.T if transposed else value
    return map_named(lambda path, shape: jnp.asarray(leaves[path], shape.dtype), shapes)


@functools.cache
def _ours(name, dtype="float32"):
    theirs = _theirs(name)
    config = from_hugging_face(theirs.config.to_dict(), "config.json")
    config = dataclasses.replace(config, dtype=dtype, param_dtype=dtype)
    return config.build(), _as_ours(config, dict(theirs.named_parameters()))


def _tokens(rows=2, length=40, seed=1):
    return np.random.default_rng(seed).integers(0, _SHAPE["vocab_size"], (rows, length))


def _logits(theirs, tokens):
    with torch.no_grad():
        return theirs(torch.tensor(tokens)).logits.float().numpy()


def _relative(found, expected):
    return np.max(np.abs(np.asarray(found) - expected)) / np.max(np.abs(expected))


@pytest.mark.parametrize("name", _MODELS)
def test_logits_and_the_gradients_of_all_parameters(name):
    theirs, tokens = copy.deepcopy(_theirs(name)), _tokens()
    model, params = _ours(name)
    logits = theirs(torch.tensor(tokens)).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), torch.tensor(tokens[:, 1:]).flatten()
    )
    loss.backward()
    gradients = {key: leaf.grad for key, leaf in theirs.named_parameters()}

    @jax.jit
    def ours(params):
        def mean(params):
            logits = model.apply(params, jnp.int32(tokens)).logits
            nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:])
            return jnp.mean(nll), logits

        return jax.value_and_grad(mean, has_aux=True)(params)

    (_, found), found_gradients = ours(params)
    assert _relative(found, logits.detach().numpy()) <= 1e-5
    expected = named_leaves(_as_ours(model.config, gradients))
    for path, gradient in named_leaves(found_gradients).items():
        assert _relative(gradient, expected[path]) <= 1e-5, path
        assert np.any(expected[path])


@pytest.mark.parametrize(
    ("name", "bound"),
    [("qwen3", 1), ("llama 3.1", 1), ("qwen2 tied", 1.03)],  # a bias is added after rounding here
)
def test_in_bfloat16_the_error_is_no_larger_than_theirs(name, bound):
    """By the mean square over many rows: theirs is the error against their own float32."""
    tokens = _tokens(48)
    exact = _logits(_theirs(name), tokens)
    theirs = copy.deepcopy(_theirs(name)).to(torch.bfloat16)
    gap = np.mean((_logits(theirs, tokens) - exact) ** 2)
    model, params = _ours(name, "bfloat16")
    found = jax.jit(model.apply)(params, jnp.int32(tokens)).logits
    assert np.mean((found - exact) ** 2) <= bound**2 * gap


def assert_same_greedy_text(theirs, model, params, prompt, count):
    """With the cache and without it the text is that of `transformers`; `prompt` is ids [n]."""
    ids = torch.tensor(prompt)[None].long()
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": -1}
    whole = theirs.generate(ids, max_new_tokens=count, **options)[0].numpy()
    expected = whole[len(prompt) :].tolist()
    assert len(expected) == count
    drawn = stream(
        model,
        params,
        prefill(model, params, prompt),
        max_tokens=count,
        sampling=Sampling(temperature=0),
    )
    assert [int(tokens[0]) for tokens, _ in drawn] == expected
    logits = mmrec_jax.logits(model, params, whole[None])[0]
    assert np.argmax(logits[len(prompt) - 1 : -1], -1).tolist() == expected


@pytest.mark.parametrize("name", ["qwen3", "llama 3.1"])
def test_greedy_text_is_theirs_with_the_cache_and_without(name):
    """Over a border of the cache's room."""
    assert_same_greedy_text(_theirs(name), *_ours(name), _tokens(1, 37)[0], 60)


@pytest.mark.parametrize("name", _MODELS)
def test_a_config_goes_there_and_back(name, tmp_path):
    theirs = _theirs(name)
    config = from_hugging_face(theirs.config.to_dict(), "config.json")
    written = to_hugging_face(config)
    assert from_hugging_face(written, "again") == config
    read = transformers.AutoConfig.for_model(**written)
    again = transformers.AutoModelForCausalLM.from_config(read).eval()
    again.load_state_dict(theirs.state_dict())
    assert type(again) is type(theirs)
    assert type(again).__name__ == written["architectures"][0]
    np.testing.assert_array_equal(_logits(again, _tokens()), _logits(theirs, _tokens()))
