"""Adapters of `peft` on models of `transformers`, in and out, beside ours on the same weights."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.models.transformer.hugging_face import from_hugging_face, tensors
from mmrec_jax.tree import nested

_NEEDS = "needs the extra parity: pip install '.[parity]'"
torch = pytest.importorskip("torch", reason=_NEEDS)
peft = pytest.importorskip("peft", reason=_NEEDS)
transformers = pytest.importorskip("transformers", reason=_NEEDS)

_TOKENS = np.arange(12).reshape(2, 6) % 40


def _moved(parameters, size):
    with torch.no_grad():
        for each in parameters:
            each.add_(size * torch.randn(each.shape))


def _theirs(tied):
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=tied,
    )
    model = transformers.Qwen3ForCausalLM(config).eval()
    _moved(model.parameters(), 0.1)
    return model


def _logits(theirs):
    with torch.no_grad():
        return theirs(torch.tensor(_TOKENS)).logits.numpy()


def _ours(theirs):
    """The model, its names and its parameters."""
    config = from_hugging_face(theirs.config.to_dict(), "config.json")
    names, found = tensors(config), theirs.state_dict()
    layers = {}
    for name, (path, layer, transposed) in names.items():
        array = found[name].numpy()
        layers.setdefault(path, []).append((layer, array.T if transposed else array))
    flat = {
        path: jnp.asarray(np.stack([x for _, x in each]) if each[0][0] is not None else each[0][1])
        for path, each in layers.items()
    }
    return config, names, nested(flat)


def _adapted(theirs, **fields):
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], **fields)
    adapted = peft.get_peft_model(copy.deepcopy(theirs), config).eval()
    _moved((x for x in adapted.parameters() if x.requires_grad), 0.2)
    return adapted


@pytest.mark.parametrize(
    ("tied", "fields"),
    [
        (True, {"use_dora": True}),
        (False, {"use_rslora": True, "modules_to_save": ["norm", "lm_head", "k_proj"]}),
        (True, {"trainable_token_indices": [5, 3]}),
        (
            False,
            {
                "use_dora": True,
                "trainable_token_indices": {"embed_tokens": [5, 3], "lm_head": [3, 7, 8]},
            },
        ),
    ],
)
def test_their_adapters_are_read_and_ours_are_read_by_them(tmp_path, tied, fields):
    theirs = _theirs(tied)
    adapted = _adapted(theirs, **fields)
    adapted.save_pretrained(tmp_path / "theirs")
    expected = _logits(adapted)
    assert np.max(np.abs(expected - _logits(theirs))) > 0.1
    config, names, params = _ours(theirs)
    found = dora.read_peft(tmp_path / "theirs", params, names)
    logits = config.build().apply(dora.apply(params, found), jnp.asarray(_TOKENS)).logits
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.max(np.abs(expected)))
    dora.write_peft(tmp_path / "ours", found, names)
    again = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours").eval()
    np.testing.assert_allclose(_logits(again), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_new_tokens_are_trainable_token_indices_of_a_longer_embedding(tmp_path, tied):
    theirs = _theirs(tied)
    _, _, params = _ours(theirs)
    theirs.resize_token_embeddings(45)
    longer, names, _ = _ours(theirs)
    config = dataclasses.replace(longer, new_rows=5)
    rng = np.random.default_rng(0)
    for name in ("embed",) if tied else ("embed", "head"):
        params[name]["new_embedding"] = jnp.zeros((5, 16))
    rules = [
        *dora.all_linear(2, 4.0, exclude="embed|head|norm"),
        dora.WholeRule("new_embedding"),
        dora.RowRule(((2, 3),)),
    ]
    start = dora.init(jax.random.key(0), params, rules)
    adapters = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape), start)
    dora.write_peft(tmp_path, adapters, names, 40)
    tokens = jnp.asarray([[1, 2, 3, 40, 41, 44], [44, 43, 42, 41, 40, 2]])
    ours = config.build().apply(dora.apply(params, adapters), tokens).logits
    again = peft.PeftModel.from_pretrained(theirs, tmp_path).eval()
    with torch.no_grad():
        expected = again(torch.tensor(np.array(tokens))).logits.numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.max(np.abs(expected)))
    back = dora.read_peft(tmp_path, params, names)
    merged = dora.apply(params, back)
    np.testing.assert_allclose(config.build().apply(merged, tokens).logits, ours, atol=1e-6)
