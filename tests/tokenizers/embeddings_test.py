"""Rows against the definitions written as loops."""

from typing import get_args

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmrec_jax.cli import main
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.embeddings import Method, constituents, extend_rows
from tests.tokenizers.small_base import mistake, small_base

_PARTS = {7: [1, 2], 8: [0, 3, 3], 9: [5]}
_LENGTHS = {0: 1, 1: 2, 2: 5, 3: 1, 4: 1, 5: 1, 6: 3}


@pytest.fixture
def matrix(rng):
    return rng.normal(size=(9, 4)).astype(np.float32)  # 7 rows used


def by_hand(matrix, token, method):
    row = [0.0] * 4
    parts = range(7) if method == "average" else _PARTS[token]
    weights = [_LENGTHS[part] if method == "weighted" else 1 for part in parts]
    for part, weight in zip(parts, weights, strict=True):
        for column in range(4):
            row[column] += weight * float(matrix[part, column]) / sum(weights)
    return np.array(row).astype(matrix.dtype)


@pytest.mark.parametrize("method", get_args(Method))
def test_new_rows_are_those_of_the_loop_and_old_ones_keep_their_bits(matrix, method):
    found = extend_rows(matrix, 7, _PARTS, _LENGTHS, method, multiple=8)
    assert (found.shape, found.dtype) == ((16, 4), np.float32)
    assert found[:7].tobytes() == matrix[:7].tobytes()
    for token in _PARTS:
        np.testing.assert_allclose(found[token], by_hand(matrix, token, method), rtol=1e-6)
    padding = matrix[:7].astype(np.float64).mean(axis=0).astype(np.float32)
    assert (found[10:] == padding[None]).all()


def test_noise_has_the_spread_that_was_asked_for(rng):
    matrix = (rng.normal(size=(50, 8)) * np.arange(1, 9)[None]).astype(np.float32)
    parts = {50 + i: [i % 50] for i in range(2_000)}
    plain, noisy, again = (
        extend_rows(matrix, 50, parts, {}, noise=noise, seed=1) for noise in (0.0, 0.1, 0.1)
    )
    added = (noisy - plain)[50:].astype(np.float64)
    np.testing.assert_allclose(added.std(axis=0), 0.1 * matrix.std(axis=0), rtol=0.07)
    assert np.abs(added.mean(axis=0) / added.std(axis=0)).max() < 0.07
    assert noisy.tobytes() == again.tobytes()
    assert noisy[:50].tobytes() == matrix.tobytes()


@pytest.fixture
def files(tmp_path):
    """The small tokenizer, and one with three more tokens, two of them through one another."""
    base = BpeFile.from_content(small_base(), "base.json")
    merges = [("Ġ", "Ä"), ("ĠÄ", "Ł"), ("t", "Ã")]
    tokens = ["ĠÄ", "ĠÄŁ", "tÃ"]
    paths = tmp_path / "base.json", tmp_path / "extended.json"
    paths[0].write_bytes(small_base())
    paths[1].write_bytes(base.extended(tokens, merges, None))
    return paths


def test_a_token_is_taken_apart_to_old_ones(files):
    base, extended = map(BpeFile.read, files)
    ids = base.vocab
    assert constituents(base, extended) == {
        299: [ids["Ġ"], ids["Ä"]],
        300: [ids["Ġ"], ids["Ä"], ids["Ł"]],
        301: [ids["t"], ids["Ã"]],
    }
    with pytest.raises(UserError, match=r"base\.json: .*extended\.json"):
        constituents(extended, base)


@pytest.fixture
def command(files, tmp_path):
    """The arguments that extend some tensors."""

    def arguments(tensors, *more):
        weights = tmp_path / "model.safetensors"
        save_file(tensors, weights)
        options = [f"--base={files[0]}", f"--tokenizer={files[1]}", f"--weights={weights}"]
        return ["init-embeddings", *options, f"--out={tmp_path / 'new.safetensors'}", *more]

    return arguments


@pytest.fixture
def init(command, tmp_path):
    def run(*arguments):
        main(["tokenizer", *command(*arguments)])
        return load_file(tmp_path / "new.safetensors")

    return run


def test_the_command_extends_both_matrices_and_copies_the_rest(files, init, rng):
    tensors = {
        "model.embed_tokens.weight": rng.normal(size=(304, 4)).astype(ml_dtypes.bfloat16),
        "lm_head.weight": rng.normal(size=(304, 4)).astype(np.float16),
        "model.norm.weight": rng.normal(size=4).astype(np.float32),
    }
    found = init(tensors, "--multiple=16")
    assert found["model.norm.weight"].tobytes() == tensors["model.norm.weight"].tobytes()
    parts = constituents(*map(BpeFile.read, files))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert found[name].shape == (304, 4)
        assert found[name].dtype == tensors[name].dtype
        assert found[name][:299].tobytes() == tensors[name][:299].tobytes()
        old = tensors[name].astype(np.float64)
        for token, row in parts.items():
            expected = (sum(old[part] for part in row) / len(row)).astype(found[name].dtype)
            assert found[name][token].tobytes() == expected.tobytes()


def test_each_matrix_has_noise_of_its_own(init, rng):
    rows = rng.normal(size=(299, 4)).astype(np.float32)
    tensors = {"model.embed_tokens.weight": rows, "lm_head.weight": rows.copy()}
    options = ("--noise=0.1", "--multiple=1")
    runs = [init(tensors, *options, *more) for more in ([], ["--seed=0"], ["--seed=1"])]
    first, again, other = ({name: x[299:] for name, x in run.items()} for run in runs)
    for name, new in first.items():
        assert new.tobytes() == again[name].tobytes()
        assert (new != other[name]).all()
    assert (first["model.embed_tokens.weight"] != first["lm_head.weight"]).all()


@pytest.mark.parametrize("method", get_args(Method))
def test_the_command_knows_every_method(init, method):
    found = init({"model.embed_tokens.weight": np.ones((299, 2), np.float32)}, f"--method={method}")
    assert (found["model.embed_tokens.weight"] == 1).all()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--weights=no.safetensors", "no.safetensors: "),
        ("--weights=BASE", "base.json: "),
        ("--matrices=head", "there is no tensor head"),
        ("--matrices=a", "a is float32 [3]"),
        ("--matrices=b", "b is float32 [298, 2]"),
        ("--noise=-1", "--noise is -1.0"),
        ("--multiple=0", "--multiple is 0"),
        ("--seed=-1", "--seed is -1"),
    ],
)
def test_a_mistake_is_one_line(files, command, capsys, argument, expected):
    tensors = {"a": np.zeros(3, np.float32), "b": np.zeros((298, 2), np.float32)}
    arguments = command(tensors, argument.replace("BASE", str(files[0])))
    assert expected in mistake(capsys, *arguments)
