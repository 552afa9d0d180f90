import numpy as np
import pytest
from safetensors.numpy import save

from mmrec_jax.errors import UserError
from mmrec_jax.inference.state_file import (
    VERSION,
    read_state_file,
    require_place_for_state,
    write_state_file,
)

_FACTS = {"model": {"config": {"gate": "state"}}, "draws": 3}


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
    write_state_file(tmp_path / "a.state", tensors, _FACTS)
    return tmp_path / "a.state"


def _refusal(path):
    with pytest.raises(UserError) as error:
        read_state_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_round_trip(path, tensors):
    found, facts = read_state_file(path)
    assert facts == _FACTS
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_same_state_makes_the_same_bytes(path, tensors):
    content = path.read_bytes()
    for _ in range(5):
        write_state_file(path, dict(reversed(tensors.items())), _FACTS)
        assert path.read_bytes() == content


def test_the_size_is_returned(path, tensors):
    assert write_state_file(path, tensors, _FACTS) == path.stat().st_size


def test_no_byte_can_change_unseen(path):
    """Every bit position of a byte is tried somewhere, the header included."""
    content = path.read_bytes()
    whole = read_state_file(path)
    unseen = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_state_file(path)
        except UserError:
            continue
        unseen += 1  # blanks between header and tensors
        assert found[1] == whole[1]
        for name, array in whole[0].items():
            np.testing.assert_array_equal(found[0][name], array)
    assert unseen <= 8


def test_no_cut_goes_unseen(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        said = _refusal(path)
        assert ("damaged or cut off" if length > 8 else "is not a saved state") in said


def test_a_flipped_byte_of_a_tensor_is_damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "the saved state is damaged (its checksum is another)" in _refusal(path)


def test_a_newer_version_is_named(path, tensors):
    write_state_file(path, tensors, _FACTS, version=VERSION + 1)
    assert f"has format version {VERSION + 1}; this mmrec_jax reads versions up to" in _refusal(
        path
    )


def test_files_of_other_kinds(tmp_path, tensors):
    text, other = tmp_path / "text", tmp_path / "weights"
    text.write_text("Bir gün köprüde bir kuş gördüm.")
    other.write_bytes(save(tensors))
    assert "this file is not a saved state" in _refusal(text)
    assert "not a saved state, but other safetensors" in _refusal(other)
    assert "cannot read the state: No such file" in _refusal(tmp_path / "absent")
    assert "cannot read the state: " in _refusal(tmp_path)


def test_a_place_is_checked_and_only_a_state_may_be_replaced(path, tmp_path, tensors):
    require_place_for_state(path)
    require_place_for_state(tmp_path / "new")
    (tmp_path / "text").write_text("Bir gün köprüde bir kuş gördüm.")
    (tmp_path / "weights").write_bytes(save(tensors))
    for place, expected in {
        tmp_path / "no" / "a.state": "there is no folder",
        tmp_path: "this is a folder",
        tmp_path / "text": "not a saved state; it is left as it is",
        tmp_path / "weights": "not a saved state; it is left as it is",
    }.items():
        with pytest.raises(UserError, match=expected):
            require_place_for_state(place)


def test_a_write_that_fails_leaves_the_old_file(path, tensors, monkeypatch):
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"a\.state: cannot write the state: No space left"):
        write_state_file(path, tensors, {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.state"]
