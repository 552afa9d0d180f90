"""The files alone; tests/parity reads them with peft itself."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mmrec_jax import dora
from mmrec_jax.dora.peft_format import CONFIG_FILE, TENSORS_FILE
from mmrec_jax.errors import UserError

_RULES = (dora.AdapterRule(r"^(dense|blocks/fused)/kernel", 2, 3.0),)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    shapes = {"dense": (6, 5), "fused": (3, 6, 7)}
    kernels = {n: {"kernel": rng.normal(size=s).astype(np.float32)} for n, s in shapes.items()}
    return {"dense": kernels["dense"], "blocks": {"fused": kernels["fused"]}}


@pytest.fixture(scope="module")
def adapters(params):
    rng = np.random.default_rng(0)
    start = jax.jit(lambda params: dora.init(jax.random.key(0), params, _RULES))(params)
    return jax.tree.map(lambda x: np.asarray(x) + np.float32(rng.normal(size=x.shape)), start)


def test_each_layer_is_a_module_with_its_matrices_turned(params, adapters, tmp_path):
    dora.write_peft(tmp_path, adapters)
    tensors = load_file(tmp_path / TENSORS_FILE)
    node = adapters["blocks"]["fused"]["kernel"]
    for layer in range(3):
        module = f"base_model.model.blocks.{layer}.fused"
        np.testing.assert_array_equal(tensors[f"{module}.lora_A.weight"], node.a[layer].T)
        np.testing.assert_array_equal(tensors[f"{module}.lora_B.weight"], node.b[layer].T)
        np.testing.assert_array_equal(tensors[f"{module}.lora_magnitude_vector"], node.m[layer, 0])
    assert len(tensors) == 3 * 4
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (2, 3.0, True)
    assert config["target_modules"] == ["dense", "fused"]

    again = dora.read_peft(tmp_path, params)
    assert jax.tree.structure(again) == jax.tree.structure(adapters)
    for actual, expected in zip(*map(jax.tree.leaves, (again, adapters)), strict=True):
        np.testing.assert_array_equal(actual, expected)


def _spoil(folder, **fields):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_has_no_counterpart_is_refused(params, adapters, tmp_path):
    with pytest.raises(UserError, match="no adapter of peft can be read here"):
        dora.read_peft(tmp_path, params)
    dora.write_peft(tmp_path, adapters)
    with pytest.raises(UserError, match=r"lora_A\.weight belongs to no kernel of this model"):
        dora.read_peft(tmp_path, {"dense": params["dense"]})
    less = {"dense": params["dense"], "blocks": {"fused": {"kernel": np.zeros((4, 6, 7))}}}
    with pytest.raises(UserError, match=r"only .*blocks\.2\.fused of the layers"):
        dora.read_peft(tmp_path, less)
    _spoil(tmp_path, rank_pattern={"dense": 4})
    with pytest.raises(UserError, match="rank_pattern is set"):
        dora.read_peft(tmp_path, params)
    _spoil(tmp_path, rank_pattern={}, peft_type="IA3")
    with pytest.raises(UserError, match="peft_type is 'IA3'"):
        dora.read_peft(tmp_path, params)
    node = adapters["dense"]["kernel"]
    with pytest.raises(UserError, match="turned/kernel: peft has no adapter of this layout"):
        dora.write_peft(tmp_path, {"turned": {"kernel": node.replace(layout="oi")}})
    other = {**adapters, "dense": {"kernel": node.replace(scale=9.0)}}
    with pytest.raises(UserError, match="one kind, rank and scale"):
        dora.write_peft(tmp_path, other)
