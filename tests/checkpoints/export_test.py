"""The files of an exported model; `init_from_test.py` writes and reads a real one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mmrec_jax.checkpoints.export import (
    EXPORT_FORMAT,
    read_exported_facts,
    read_exported_params,
)
from mmrec_jax.checkpoints.publish import publish
from mmrec_jax.checkpoints.saved_model import TrainedModel
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.refused import refused

_PARAMS = {"out": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}}


@pytest.fixture
def trained(tmp_path):
    """A model of which the files of its tokenizer are there."""
    ByteTokenizer().save(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "beside.json").write_text("{}")
    params = _PARAMS | {"half": jnp.asarray([1.5, -2.0], jnp.bfloat16)}
    config, tokenizer = Config(), ByteTokenizer()
    model = dataclasses.replace(config.model, vocab_size=tokenizer.vocab_size)
    return TrainedModel(tmp_path, config, model, 7, tokenizer, lambda *_: params, params)


@pytest.fixture
def place(trained, tmp_path):
    publish(trained, tmp_path / "out")
    return Workdir(tmp_path / "out")


def _like(**shapes):
    return {"out": {"kernel": jax.ShapeDtypeStruct(shapes.get("kernel", (2, 3)), jnp.float32)}}


def test_everything_is_there(place):
    facts = read_exported_facts(place.model_file)
    assert (facts["step"], facts["tokenizer"]) == (7, ByteTokenizer().fingerprint)
    assert place.read_config() == (Config(), 258)
    assert (place.tokenizer / "beside.json").exists()
    like = _like() | {"half": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}
    params = read_exported_params(place.model_file, like)
    np.testing.assert_array_equal(params["out"]["kernel"], _PARAMS["out"]["kernel"])
    assert params["half"].tolist() == [1.5, -2.0]
    with safe_open(place.model_file, framework="numpy") as content:
        assert sorted(content.keys()) == ["half", "out/kernel"]


def test_a_wrong_or_damaged_file_is_one_line(trained, place):
    file = place.model_file
    missing = {"other": jax.ShapeDtypeStruct((1,), jnp.float32)}
    for like, part in ((_like(kernel=(2, 4)), "out/kernel is float32 [2, 3]"), (missing, "other")):
        refused(lambda like=like: read_exported_params(file, like), str(file), part)
    refused(lambda: publish(trained, place.root), "something here already")
    content, facts = bytearray(file.read_bytes()), read_exported_facts(file)
    for index in (9, len(content) // 2, len(content) - 1):  # `tensor_file_test.py` has every bit
        content[index] ^= 4
        file.write_bytes(content)
        refused(lambda: read_exported_params(file, _like()), f"{file}: ")
        content[index] ^= 4
    for name, value in {"step": "7", "config": [], "tokenizer": None}.items():
        EXPORT_FORMAT.write(file, {}, facts | {name: value})
        refused(lambda: read_exported_facts(file), str(file), name)
    save_file(_PARAMS["out"], file)
    refused(lambda: read_exported_facts(file), "not a model of mmrec export")
