import json

import numpy as np
import pytest
from safetensors.numpy import save

from mmrec_jax.checkpoints.tensor_file import TensorFormat
from mmrec_jax.errors import UserError
from tests.refused import refused
from tests.small_run import assert_same_bits

_KEY = "mmrec_jax test"
_FORMAT = TensorFormat("saved state", key=_KEY)
_FACTS = {"model": {"config": {"gate": "state"}}, "draws": 3, "rate": 1e-5, "text": "göl"}


@pytest.fixture
def tensors(rng):
    return {
        "h": rng.normal(size=(2, 1, 4)).astype(np.float32),
        "seen": rng.random((1, 9)) < 0.5,
        "nothing": np.zeros((2, 1, 0, 4, 4), np.float32),  # M of a model without one
        "tail": np.array([3, 1], np.int32),
    }


@pytest.fixture
def path(tmp_path, tensors):
    _FORMAT.write(tmp_path / "a.state", tensors, _FACTS)
    return tmp_path / "a.state"


def _refused(path, *parts):
    refused(lambda: _FORMAT.read(path), f"{path}: ", *parts)


def test_a_round_trip_and_the_same_state_makes_the_same_bytes(path, tensors):
    found, facts = _FORMAT.read(path)
    assert facts == _FACTS
    assert_same_bits(found, tensors)
    content = path.read_bytes()
    for _ in range(5):
        size = _FORMAT.write(path, dict(reversed(tensors.items())), _FACTS)
        assert (path.read_bytes(), size) == (content, len(content))


def test_no_bit_can_change_unseen_and_no_cut(path):
    """In each byte two bits: every bit position somewhere, and the one that makes 1e-05 1E-05."""
    content = path.read_bytes()
    for index in range(len(content)):
        for bit in {index % 8, 5}:
            damaged = bytearray(content)
            damaged[index] ^= 1 << bit
            path.write_bytes(damaged)
            _refused(path)
        path.write_bytes(content[:index])
        _refused(path, "damaged or cut off" if index > 8 else "is not a saved state")


def test_a_newer_version_is_named_and_an_older_one_read_until_it_is_too_old(path, tensors):
    newer = TensorFormat("saved state", key=_KEY, version=2, unchecked=1)
    newer.write(path, tensors, _FACTS)
    _refused(path, "version 2")
    assert newer.read(path)[1] == newer.read_facts(path) == _FACTS
    path.write_bytes(save(tensors, {_KEY: json.dumps({"draws": 3, "version": 1})}))
    _refused(path, "damaged")
    found, facts = newer.read(path)
    assert facts == {"draws": 3}
    np.testing.assert_array_equal(found["h"], tensors["h"])


_LABELS = {
    "a list": "[]",
    "a version of another type": json.dumps({"version": "x"}),
    "no facts": json.dumps({"sha256": "", "version": 1}),
    "facts of another type": json.dumps({"facts": 3, "sha256": "", "version": 1}),
    "nested deeply": "[" * 200_000,
    "no JSON": "{",
}


@pytest.mark.parametrize("label", _LABELS.values(), ids=_LABELS)
def test_a_label_that_is_none(path, tensors, label):
    path.write_bytes(save(tensors, {_KEY: label}))
    _refused(path, "damaged")


def test_other_files_are_neither_read_nor_replaced(path, tmp_path, tensors):
    text, other = tmp_path / "text", tmp_path / "weights"
    text.write_text("Bir gün köprüde bir kuş gördüm.")
    other.write_bytes(save(tensors))
    _refused(text, "this file is not a saved state")
    _refused(other, "not a saved state, but other safetensors")
    _refused(tmp_path / "absent", "cannot read the saved state: No such file")
    _refused(tmp_path, "cannot read the saved state: ")
    _FORMAT.require_writable(path)
    _FORMAT.require_writable(tmp_path / "new")
    for target in (tmp_path / "no" / "a.state", tmp_path, text, other):
        refused(lambda target=target: _FORMAT.require_writable(target), f"{target}: ")


def test_a_write_that_fails_leaves_the_old_file(path, tensors, monkeypatch):
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"a\.state: cannot write the saved state: No space left"):
        _FORMAT.write(path, tensors, {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.state"]
