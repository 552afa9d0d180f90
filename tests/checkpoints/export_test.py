"""The files of an exported model; `init_from_test.py` writes and reads a real one."""

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
    write_exported,
)
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.byte import ByteTokenizer

_PARAMS = {"out": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}}


@pytest.fixture
def place(tmp_path):
    ByteTokenizer().save(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "beside.json").write_text("{}")
    params = _PARAMS | {"half": jnp.asarray([1.5, -2.0], jnp.bfloat16)}
    options = {"vocab_size": 258, "step": 7}
    folder = tmp_path / "out"
    tokenizer = ByteTokenizer()
    write_exported(folder, Config(), params, tokenizer, tmp_path / "tokenizer", **options)
    return Workdir(folder)


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


def test_a_wrong_file_is_one_clear_error(place):
    with pytest.raises(UserError, match=r"out/kernel is float32 \[2, 3\]; by the config it is .*4"):
        read_exported_params(place.model_file, _like(kernel=(2, 4)))
    with pytest.raises(UserError, match="other is missing; by the config"):
        read_exported_params(place.model_file, {"other": jax.ShapeDtypeStruct((1,), jnp.float32)})
    save_file(_PARAMS["out"], place.model_file)
    with pytest.raises(UserError, match="not a model of mmrec export"):
        read_exported_facts(place.model_file)


def test_no_bit_can_change_unseen_and_nothing_be_cut_off(place):
    like = _like() | {"half": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}
    content = place.model_file.read_bytes()
    changed = [content[:-3], content[:9], b""]
    for index in range(0, len(content), 7):
        changed.append(bytearray(content))
        changed[-1][index] ^= 1 << index % 8
    for each in changed:
        place.model_file.write_bytes(each)
        with pytest.raises(UserError) as caught:
            read_exported_params(place.model_file, like)
        assert str(caught.value).startswith(f"{place.model_file}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("step", "7"), ("config", []), ("tokenizer", None)])
def test_a_fact_of_another_type_is_named(place, name, value):
    EXPORT_FORMAT.write(place.model_file, {}, read_exported_facts(place.model_file) | {name: value})
    with pytest.raises(UserError, match=name):
        read_exported_facts(place.model_file)


def test_nothing_is_overwritten(place, tmp_path):
    with pytest.raises(UserError, match="there is something here already"):
        write_exported(
            place.root, Config(), _PARAMS, ByteTokenizer(), tmp_path, vocab_size=1, step=1
        )
