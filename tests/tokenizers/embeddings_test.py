"""Rows against the definitions written as loops, and the files that they are read from."""

import json
from typing import get_args

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from mmrec_jax.cli import main
from mmrec_jax.pretrained.shards import open_tensors
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.embeddings import Method, constituents, first_rows
from tests.refused import mistake
from tests.small_data import refused
from tests.tokenizers.small_base import small_base

_PARTS = {7: [1, 2], 8: [0, 3, 3], 9: [5]}
_INPUT, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


def by_hand(matrix, token, method):
    row = [0.0] * 4
    parts = range(7) if method == "average" else _PARTS[token]
    for part in parts:
        for column in range(4):
            row[column] += float(matrix[part, column]) / len(parts)
    return np.array(row).astype(matrix.dtype)


@pytest.mark.parametrize("method", get_args(Method))
def test_new_rows_are_those_of_the_loop(rng, method):
    matrix = rng.normal(size=(9, 4)).astype(np.float32)  # 7 rows used
    found = first_rows(matrix.__getitem__, 7, _PARTS, method, 9, matrix.dtype)
    assert (found.shape, found.dtype) == ((9, 4), np.float32)
    for token in _PARTS:
        np.testing.assert_allclose(found[token - 7], by_hand(matrix, token, method), rtol=1e-6)
    padding = matrix[:7].astype(np.float64).mean(axis=0).astype(np.float32)
    assert (found[3:] == padding[None]).all()


@pytest.fixture
def files(tmp_path):
    """The small tokenizer, and one with three more tokens, two of them through one another."""
    base = BpeFile.from_content(small_base(), "base.json")
    merges = [("Ġ", "Ä"), ("ĠÄ", "Ł"), ("t", "Ã")]
    paths = tmp_path / "base.json", tmp_path / "extended.json"
    paths[0].write_bytes(small_base())
    paths[1].write_bytes(base.extended(["ĠÄ", "ĠÄŁ", "tÃ"], merges, None))
    return paths


def test_a_token_is_taken_apart_to_old_ones(files):
    base, extended = map(BpeFile.read, files)
    ids = base.vocab
    assert constituents(base, extended) == {
        299: [ids["Ġ"], ids["Ä"]],
        300: [ids["Ġ"], ids["Ä"], ids["Ł"]],
        301: [ids["t"], ids["Ã"]],
    }
    with refused(*files):
        constituents(extended, base)


@pytest.fixture
def command(files, tmp_path):
    """The arguments that extend some tensors."""

    def arguments(tensors, *more):
        weights = tmp_path / "model.safetensors"
        save_file(tensors, weights)
        options = [f"--base={files[0]}", f"--tokenizer={files[1]}", f"--weights={weights}"]
        return [
            "tokenizer",
            "init-embeddings",
            *options,
            f"--out={tmp_path / 'new.safetensors'}",
            *more,
        ]

    return arguments


def test_the_command_extends_both_matrices_and_copies_the_rest(files, command, tmp_path, rng):
    tensors = {
        _INPUT: rng.normal(size=(304, 4)).astype(ml_dtypes.bfloat16),
        _OUTPUT: rng.normal(size=(304, 4)).astype(np.float16),
        "model.norm.weight": rng.normal(size=4).astype(np.float32),
    }
    main(command(tensors, "--multiple=16"))
    found = load_file(tmp_path / "new.safetensors")
    assert found["model.norm.weight"].tobytes() == tensors["model.norm.weight"].tobytes()
    parts = constituents(*map(BpeFile.read, files))
    for name in (_INPUT, _OUTPUT):
        assert (found[name].shape, found[name].dtype) == ((304, 4), tensors[name].dtype)
        assert found[name][:299].tobytes() == tensors[name][:299].tobytes()
        old = tensors[name].astype(np.float64)
        for token, row in parts.items():
            expected = (sum(old[part] for part in row) / len(row)).astype(found[name].dtype)
            assert found[name][token].tobytes() == expected.tobytes()


def test_tensors_of_any_dtype_are_copied_bit_for_bit_from_shards(files, command, tmp_path, capsys):
    eight_bits = np.frombuffer(b"\x81\xff\x00", np.uint8).reshape(3, 1)
    odd = {name: eight_bits.view(name) for name in (np.uint8, np.int8, np.bool_)}
    odd = {f"odd.{np.dtype(name)}": each for name, each in odd.items()}
    odd["long"] = np.array(7, np.int64)
    save_file({_INPUT: np.ones((299, 2), np.float32)}, tmp_path / "one.safetensors")
    save_file(odd, tmp_path / "two.safetensors")
    where = {_INPUT: "one.safetensors"} | dict.fromkeys(odd, "two.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    main(command({}, f"--weights={index}", "--multiple=1"))
    found = open_tensors(tmp_path / "new.safetensors")
    for name, each in odd.items():
        assert (found[name].shape, found[name].dtype) == (each.shape, each.dtype)
        assert found[name].read().tobytes() == each.tobytes()
    with safe_open(tmp_path / "new.safetensors", framework="numpy") as library:
        assert library.metadata() == {"format": "pt"}
        assert library.get_tensor(_INPUT).shape == (302, 2)
        assert library.get_tensor("odd.uint8").tobytes() == b"\x81\xff\0"
    sharded = command({}, f"--weights={index}", f"--out={tmp_path / 'new'}", "--shard-gb=1e-8")
    main(sharded)
    assert open_tensors(tmp_path / "new.index.json").keys() == found.keys()
    assert "new-00001" in mistake(capsys, *sharded)  # which may be what is read
    index.write_text(json.dumps({"weight_map": where | {"more": "one.safetensors"}}))
    with refused(index.name, "more", "one.safetensors"):
        open_tensors(index)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--weights=no.safetensors", "no.safetensors: "),
        ("--weights=BASE", "base.json: "),
        ("--matrices=head", "there is no tensor head"),
        ("--matrices=a", "a is float32 [3]"),
        ("--matrices=b", "b is float32 [298, 2]"),
        ("--multiple=0", "--multiple is 0"),
    ],
)
def test_a_mistake_is_one_line(files, command, capsys, argument, expected):
    tensors = {"a": np.zeros(3, np.float32), "b": np.zeros((298, 2), np.float32)}
    arguments = command(tensors, argument.replace("BASE", str(files[0])))
    assert expected in mistake(capsys, *arguments)
