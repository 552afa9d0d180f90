"""The files alone; tests/parity reads them with peft itself."""

import json

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mmrec_jax import dora
from mmrec_jax.dora.peft_format import CONFIG_FILE, TENSORS_FILE
from mmrec_jax.errors import UserError
from tests.small_step import moved

_RULES = (dora.AdapterRule(r"^(dense|blocks/fused)/kernel", 2, 3.0),)


@pytest.fixture(scope="module")
def params():
    shapes = {"dense": np.zeros((6, 5)), "fused": np.zeros((3, 6, 7))}
    dense, fused = ({"kernel": np.float32(x)} for x in moved(shapes, 1.0).values())
    return {"dense": dense, "blocks": {"fused": fused}}


@pytest.fixture(scope="module")
def adapters(params):
    start = jax.jit(lambda params: dora.init(jax.random.key(0), params, _RULES))(params)
    return moved(jax.device_get(start), 1.0)


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
    chex.assert_trees_all_equal(dora.read_peft(tmp_path, params), adapters)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rank_pattern": {"dense": 4}}, "rank_pattern is"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
        ({"r": 4}, "r is 4, and .*kernel has 2"),
        ({"r": None}, "r is None"),
        ({"use_dora": False}, "lora_magnitude_vector belongs to no kernel .*use_dora=False"),
    ],
)
def test_files_that_mean_another_function_are_refused_by_field(
    params, adapters, tmp_path, fields, named
):
    dora.write_peft(tmp_path, adapters)
    path = tmp_path / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(UserError, match=named):
        dora.read_peft(tmp_path, params)


def test_what_has_no_counterpart_is_refused(params, adapters, tmp_path):
    with pytest.raises(UserError, match="no adapter of peft can be read here"):
        dora.read_peft(tmp_path, params)
    dora.write_peft(tmp_path, adapters)
    with pytest.raises(UserError, match=r"lora_A\.weight belongs to no kernel"):
        dora.read_peft(tmp_path, {"dense": params["dense"]})
    less = {"dense": params["dense"], "blocks": {"fused": {"kernel": np.zeros((4, 6, 7))}}}
    with pytest.raises(UserError, match=r"only .*blocks\.2\.fused of the layers"):
        dora.read_peft(tmp_path, less)
    node = adapters["dense"]["kernel"]
    rows = {"embedding": dora.Rows(np.zeros((1, 4)), ((0, 0),))}
    with pytest.raises(UserError, match="embedding: peft has no counterpart"):
        dora.write_peft(tmp_path, adapters | rows)
    with pytest.raises(UserError, match="one kind, rank and scale"):
        dora.write_peft(tmp_path, {**adapters, "dense": {"kernel": node.replace(scale=9.0)}})
