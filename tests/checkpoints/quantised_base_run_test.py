"""Runs of adapters on a quantised base: trained, continued, read, exported, and stored once."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.load import open_model, read_adapters, read_model
from mmrec_jax.checkpoints.lock import unlock_folder
from mmrec_jax.cli import main
from mmrec_jax.dora.base import base_converter
from mmrec_jax.quantised import Quantised, dequantise, quantise
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from mmrec_jax.tree import map_named, named_leaves
from tests.pretrained.small_folder import small_config as model_config
from tests.pretrained.small_folder import write_folder
from tests.refused import mistake, refused
from tests.small_run import begin, linear_config, metrics, session_text, small_config

_TOKENS = jnp.asarray([[5, 200, 7, 12, 250, 3]])
_KEPT = {"adapters__base_dtype": "nf4", "adapters__embedding_dtype": "int8"}


def _config(base, **overrides):
    fields = {
        "init_from": base,
        "adapters__kind": "dora",
        "adapters__rank": 2,
        "optim__schedule": "constant",
        "train__steps": 4,
        "train__checkpoint_every": 2,
        "train__eval_every": 4,
        "train__sample_tokens": 0,
        "train__devices": 1,
    }
    return small_config(session_text(), objectives__uboo=None, **(fields | overrides))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pretrained model of others, and a run on it."""
    folder = tmp_path_factory.mktemp("quantised")
    write_folder(folder / "base", model_config("qwen3", ffn_dim=66))
    config = _config(folder / "base", **_KEPT, train__sample_tokens=3)
    assert run(config, folder / "fine") == 0
    return folder


@pytest.fixture(scope="module")
def stored(folder):
    """The folder of `mmrec quantise`, in several files."""
    arguments = ["--embedding-dtype", "int8", "--shard-gb", "1e-5"]
    main(["quantise", str(folder / "base"), "--out", str(folder / "stored"), *arguments])
    assert len(list((folder / "stored").glob("*.safetensors"))) > 2
    return folder / "stored"


@jax.jit
def _logits(model, params):
    return model.apply(params, _TOKENS).logits


def _assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))


def _values(name, leaf):
    if name.endswith("/kernel"):
        return dequantise(quantise(leaf, "nf4"))
    return dequantise(quantise(leaf, "int8", -1)) if name.endswith("/embedding") else leaf


def test_the_run_is_read_on_the_values_that_it_was_trained_on(folder, tmp_path, capsys):
    setup = set_up(_config(folder / "base", **_KEPT), folder / "fine", fresh=False)
    unlock_folder(folder / "fine")
    kinds = [leaf.kind for leaf in named_leaves(setup.model.base).values() if _is_quantised(leaf)]
    assert sorted(kinds) == 2 * ["int8"] + 7 * ["nf4"]
    expected = _logits(setup.model, setup.state.params)
    model, params, _ = mmrec_jax.load(folder / "fine", "last")
    assert not any(map(_is_quantised, named_leaves(params).values()))
    _assert_close(_logits(model, params), expected)
    model, params, _ = mmrec_jax.load(folder / "base", adapter=folder / "fine")
    _assert_close(_logits(model, params), expected)
    main(["export", "--workdir", str(folder / "fine"), "--out", str(tmp_path / "out")])
    model, params, _ = mmrec_jax.load(tmp_path / "out")
    _assert_close(_logits(model, params), expected)
    main(["adapters", "show", "--workdir", str(folder / "fine")])
    assert "blocks/gate/kernel  2 x 16 x 66" in " ".join(capsys.readouterr().out.split("\n"))


def test_a_merged_base_is_the_quantised_one(folder):
    """Adapters of another base, even of its own numbers in more bits, give other functions."""
    trained, base = read_adapters(folder / "fine"), read_model(folder / "base")
    merged = mmrec_jax.load(folder / "fine")[1]
    own = mmrec_jax.dora.apply(map_named(_values, base.params), trained.adapters)
    for name, leaf in named_leaves(own).items():
        _assert_close(named_leaves(merged)[name], np.asarray(leaf))
    full = mmrec_jax.dora.apply(base.params, trained.adapters)["blocks"]["q"]["kernel"]
    assert np.abs(full - merged["blocks"]["q"]["kernel"]).max() > 1e-3


def test_a_stored_base_makes_the_same_run_and_reads_as_its_values(folder, stored):
    assert run(_config(stored), folder / "again") == 0
    assert metrics(folder / "again", "train") == metrics(folder / "fine", "train")
    fine = mmrec_jax.load(folder / "fine")[1]
    for adapter in ("fine", "again"):  # trained on the same codes, whoever stored them
        merged = mmrec_jax.load(stored, adapter=folder / adapter)[1]
        jax.tree.map(np.testing.assert_array_equal, merged, fine)
    expected = map_named(_values, read_model(folder / "base").params)
    for name, leaf in named_leaves(mmrec_jax.load(stored)[1]).items():
        np.testing.assert_array_equal(leaf, named_leaves(expected)[name], err_msg=name)


def test_a_mesh_reads_the_parts_of_the_same_codes(folder, stored):
    config = _config(stored, train__devices=8, mesh__data=2, mesh__fsdp=2, mesh__tensor=2)
    setup = set_up(config, folder / "split", fresh=True)
    unlock_folder(folder / "split")
    convert = base_converter(_config(folder / "base", **_KEPT).adapters)
    whole = named_leaves(open_model(folder / "base").read(convert=convert).params)
    for name, leaf in named_leaves(setup.model.base).items():
        jax.tree.map(np.testing.assert_array_equal, leaf, whole[name])
    codes = setup.model.base["blocks"]["gate"]["kernel"].codes
    assert codes.addressable_shards[0].data.size == codes.size // 4


def test_a_run_of_ours_is_quantised_as_it_is_read(tmp_path):
    text = session_text()
    begin(linear_config(text), tmp_path / "base", step=1)
    fields = {"init_from": tmp_path / "base", "adapters__kind": "lora", "adapters__rank": 2}
    fields |= {"train__steps": 1, "train__sample_tokens": 0}
    config = linear_config(text, **fields, adapters__base_dtype="nf4")
    assert run(config, tmp_path / "fine") == 0
    model, params, _ = mmrec_jax.load(tmp_path / "fine")
    assert np.isfinite(_logits(model, params)).all()


def test_what_does_not_fit_is_one_line(stored, tmp_path, capsys):
    again = _config(stored, adapters__base_dtype="int8")
    refused(lambda: run(again, tmp_path / "run"), "adapters.base_dtype", "nf4")
    out = "--out", tmp_path / "out"
    assert "is nf4 already" in mistake(capsys, "quantise", stored, *out, "--dtype", "int8")
    begin(linear_config(session_text()), tmp_path / "ours", step=1)
    assert "adapters.base_dtype" in mistake(capsys, "quantise", tmp_path / "ours", *out)
    base = write_folder(tmp_path / "bad", model_config("llama"))
    base["model.norm.weight"][0] = 1
    name = "model.layers.1.mlp.up_proj.weight"
    base[name][0, 0] = np.nan
    write_folder(tmp_path / "bad", model_config("llama"), made=base)
    refused(lambda: run(_config(tmp_path / "bad", **_KEPT), tmp_path / "run"), "blocks/up/kernel")
    without = {"adapters__kind": "none"}
    refused(lambda: _config(stored, **without, adapters__base_dtype="nf4"), "adapters.base_dtype")
    refused(lambda: _config(stored, **without, adapters__embedding_dtype="int8"), "embedding_dtype")
    refused(lambda: _config(stored, **_KEPT, adapters__embedding_rows="1"), "embedding_dtype")


def test_a_stored_tensor_that_the_config_has_not_is_named(stored, tmp_path):
    spoilt = shutil.copytree(stored, tmp_path / "spoilt")
    described = json.loads((spoilt / "config.json").read_text()) | {"tie_word_embeddings": True}
    (spoilt / "config.json").write_text(json.dumps(described))
    refused(lambda: read_model(spoilt), str(spoilt), "head/embedding/codes", "not known")


def _is_quantised(leaf):
    return isinstance(leaf, Quantised)
