"""Folders and Hub ids of others: every tensor where it belongs, every fault one line."""

import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import save_file

import mmrec_jax
from benchmarks.pretrained_memory import write_random
from mmrec_jax.checkpoints.load import open_model, read_model
from mmrec_jax.inference.generate import document_ids
from mmrec_jax.models.transformer.hugging_face import tensors
from mmrec_jax.pretrained.published import find_published
from mmrec_jax.train.mesh import arrange
from mmrec_jax.tree import named_leaves
from tests.pretrained.small_folder import random_tensors, small_config, write_folder
from tests.refused import refused
from tests.small_run import ROOT


def expected(config, made):
    """Our tree from their tensors, stacked here."""
    layers = {}
    for name, tensor in tensors(config).items():
        numbers = made[name].T if tensor.transposed else made[name]
        layers.setdefault(tensor.path, []).append((tensor.layer, numbers))
    return {
        path: np.stack([x for _, x in found]) if found[0][0] is not None else found[0][1]
        for path, found in layers.items()
    }


@pytest.mark.parametrize(
    ("kind", "dtype", "shards", "tied"),
    [
        ("qwen3", "bfloat16", 3, False),
        ("qwen2", "float16", 1, True),
        ("llama", "float32", 2, True),
    ],
)
def test_every_tensor_is_where_it_belongs_bit_for_bit(tmp_path, kind, dtype, shards, tied):
    config = small_config(kind, tie_embeddings=tied)
    made = write_folder(tmp_path / "model", config, dtype, shards)
    trained = read_model(tmp_path / "model")
    found = named_leaves(trained.params)
    for name, array in expected(config, made).items():
        leaf = found.pop(name)
        assert leaf.devices() == {jax.devices()[0]}
        assert leaf.dtype == array.dtype
        np.testing.assert_array_equal(np.asarray(leaf), array, err_msg=name)
    assert not found
    assert trained.tokenizer.ends == (298, 296)
    assert trained.step == 0


def test_a_second_read_compiles_nothing(tmp_path, compiled):
    write_folder(tmp_path / "model")
    read_model(tmp_path / "model")
    compiled.clear()
    read_model(tmp_path / "model")
    assert not compiled


def test_on_a_mesh_each_device_has_its_part_and_what_is_kept_is_made_by_layer(tmp_path):
    config = small_config()
    made = write_folder(tmp_path / "model", config, "bfloat16", shards=2)
    seen = set()

    def doubled(path, x):
        seen.add((path, x.shape))
        return {"low": x.astype(jnp.float32) * 2, "rows": x[..., :1]}

    mesh = arrange(jax.devices(), fsdp=2)
    saved = open_model(tmp_path / "model")
    plain, kept = saved.read(mesh), saved.read(mesh, doubled)
    for name, array in expected(config, made).items():
        leaf = named_leaves(plain.params)[name]
        assert isinstance(leaf.sharding, NamedSharding)
        np.testing.assert_array_equal(np.asarray(leaf), array, err_msg=name)
        parts = named_leaves(kept.params)
        np.testing.assert_array_equal(parts[f"{name}/low"], array.astype(np.float32) * 2)
        np.testing.assert_array_equal(parts[f"{name}/rows"], array[..., :1])
    gate = named_leaves(plain.params)["blocks/gate/kernel"]
    assert gate.sharding.spec == PartitionSpec(None, "fsdp", "tensor")
    assert gate.addressable_shards[0].data.shape == (2, 8, 24)
    assert ("blocks/gate/kernel", (16, 24)) in seen
    assert plain.identity == saved.read().identity != kept.identity


@pytest.mark.parametrize("said", [None, False, True])
def test_a_prompt_begins_as_the_models_texts_do(tmp_path, said):
    """Which a tokenizer_config.json says, or else what the tokenizer.json adds to texts."""
    write_folder(tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    if said is not None:
        path.write_text(json.dumps({**settings, "add_bos_token": said}), "utf-8")
    tokenizer = open_model(tmp_path / "model").tokenizer
    begin = [tokenizer.bos_id] if said else []
    text = tokenizer.encode("su").tolist()
    assert document_ids(tokenizer, "su").tolist() == [*begin, *text]
    assert document_ids(tokenizer, "").tolist() == [tokenizer.bos_id]
    file = tmp_path / "model" / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    name = tokenizer.id_to_piece(tokenizer.bos_id)
    parts = (("SpecialToken", name), ("Sequence", "A"))
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{kind: {"id": i, "type_id": 0}} for kind, i in parts],
        "pair": [{"Sequence": {"id": i, "type_id": 0}} for i in "AB"],
        "special_tokens": {name: {"id": name, "ids": [tokenizer.bos_id], "tokens": [name]}},
    }
    file.write_text(json.dumps(content), "utf-8")
    assert open_model(tmp_path / "model").tokenizer.begins_prompts is (said is not False)


def test_the_identity_tells_one_number_from_another(tmp_path):
    made = write_folder(tmp_path / "one")
    first = read_model(tmp_path / "one").identity
    made["model.layers.1.mlp.up_proj.weight"][0, 0] += 1
    write_folder(tmp_path / "other", made=made)
    second = read_model(tmp_path / "other").identity
    names = [name for name, x in first["parameters"].items() if x != second["parameters"][name]]
    assert names == ["blocks/up/kernel"]
    write_folder(tmp_path / "other", made=made, shards=3)
    (tmp_path / "other" / "model.safetensors").unlink()
    assert read_model(tmp_path / "other").identity == second  # however it is cut into files


def test_what_older_files_hold_besides_is_left_out(tmp_path):
    config = small_config("llama", tie_embeddings=True)
    made = random_tensors(config)
    more = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32),
        "lm_head.weight": made["model.embed_tokens.weight"],
    }
    write_folder(tmp_path / "model", config, made=made | more)
    assert "head" not in read_model(tmp_path / "model").params
    more["lm_head.weight"] = more["lm_head.weight"] + 1
    write_folder(tmp_path / "model", config, made=made | more)
    refused(lambda: read_model(tmp_path / "model"), "lm_head.weight differs", "tie_word_embeddings")


def _change(folder, name, **fields):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | fields))


def _without(folder, *names):
    made = random_tensors(small_config())
    write_folder(folder, made={name: x for name, x in made.items() if name not in names})


def _with(folder, **more):
    write_folder(folder, made=random_tensors(small_config()) | more)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-5])


_UP = "model.layers.1.mlp.up_proj.weight"
_SECOND = "model-00002-of-00003.safetensors"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / _SECOND).unlink(), (_SECOND, "is missing")),
        (lambda f: _cut(f / _SECOND), (_SECOND, "cut off or damaged")),
        (lambda f: _without(f, _UP, "model.norm.weight"), (_UP, "model.norm.weight", "missing")),
        (lambda f: _with(f, **{_UP: np.ones((24, 15), "f4")}), (_UP, "[24, 15]", "[24, 16]")),
        (
            lambda f: _with(f, **{"model.layers.0.mlp.router.weight": np.ones(3, "f4")}),
            ("model.layers.0.mlp.router.weight is not known",),
        ),
        (
            lambda f: _change(f, "config.json", quantization_config={"quant_method": "fp8"}),
            ("config.json", "quantization_config", "fp8"),
        ),
        (lambda f: _change(f, "config.json", model_type="mamba"), ("model_type", "'mamba'")),
        (lambda f: _change(f, "config.json", vocab_size=290), ("vocab_size is 290", "299 ids")),
        (lambda f: (f / "tokenizer.json").unlink(), ("no tokenizer.json", "save_pretrained")),
        (
            lambda f: (f / "model.safetensors.index.json").write_text("{}"),
            ("index.json", "no weight_map"),
        ),
        (
            lambda f: (f / "model.safetensors.index.json").unlink(),
            ("neither model.safetensors nor",),
        ),
        (
            lambda f: (f / "model.safetensors.index.json").rename(f / "pytorch_model.bin"),
            ("neither model.safetensors nor", "pytorch_model.bin"),
        ),
    ],
)
def test_a_fault_is_one_line_that_names_it(tmp_path, spoil, said):
    folder = tmp_path / "model"
    write_folder(folder, shards=3)
    spoil(folder)
    if (folder / "model.safetensors").is_file():
        (folder / "model.safetensors.index.json").unlink()
    refused(lambda: read_model(folder), str(folder), *said)


def test_a_quantised_tensor_is_named(tmp_path):
    write_folder(tmp_path / "model")
    eight_bits = np.zeros((24, 16), ml_dtypes.float8_e4m3fn)
    save_file({_UP: eight_bits}, tmp_path / "model" / "model.safetensors")
    refused(lambda: read_model(tmp_path / "model"), _UP, "F8_E4M3", "quantised")


def test_a_hub_id_is_found_in_the_cache_or_told_in_one_line(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(lambda: read_model("nobody/small"), "nobody/small: there is no run here", "cache")
    repository = tmp_path / "cache" / "models--nobody--small"
    write_folder(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    model, _, tokenizer = mmrec_jax.load("nobody/small")
    assert (model.config.num_layers, tokenizer.eos_id) == (2, 298)
    refused(lambda: read_model("nobody/small", 7), "no step 7")


def test_a_gguf_file_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused(lambda: read_model(tmp_path / "x.gguf"), "x.gguf", "mmrec_jax[gguf]")


def test_a_name_is_a_path_where_its_folder_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_published("runs/tiny") == "runs/tiny"
    (tmp_path / "runs").mkdir()
    assert find_published("runs/tiny") is None
    refused(lambda: read_model("runs/tiny"), "runs/tiny: there is no run here")


def test_the_end_is_the_config_s_where_the_tokenizer_names_none(tmp_path):
    write_folder(tmp_path / "model")
    _change(tmp_path / "model", "tokenizer_config.json", eos_token=None)
    (tmp_path / "model" / "generation_config.json").unlink()
    assert open_model(tmp_path / "model").tokenizer.ends == (298,)


def test_padding_of_the_vocabulary_is_never_drawn(tmp_path):
    config = small_config()
    made = random_tensors(config)
    made["lm_head.weight"][299:] = 100 * np.sign(made["lm_head.weight"][299:])
    write_folder(tmp_path / "model", config, made=made)
    model, params, tokenizer = mmrec_jax.load(tmp_path / "model")
    assert model.config.vocab_size == len(params["head"]["embedding"]) == 304
    tokens = tokenizer.encode("the cat")[None]
    assert np.asarray(mmrec_jax.logits(model, params, tokens))[0, -1].argmax() >= 299
    for seed in range(3):
        mmrec_jax.generate(model, params, tokenizer, "the cat", max_tokens=8, seed=seed)


def test_a_folder_that_was_moved_is_another_name_of_the_same_model(tmp_path):
    write_folder(tmp_path / "model")
    before = read_model(tmp_path / "model")
    shutil.move(tmp_path / "model", tmp_path / "moved")
    after = read_model(tmp_path / "moved")
    assert before.identity == after.identity
    assert before.root != after.root


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_large_model_is_loaded_with_little_memory_beside_it(tmp_path):
    write_random(tmp_path, gigabytes=8.2)
    command = [sys.executable, "-m", "benchmarks.pretrained_memory", str(tmp_path), "--here"]
    said = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    found = json.loads(said)
    assert found["arrays"] >= 8e9
    assert found["beyond"] <= 1.5e9
