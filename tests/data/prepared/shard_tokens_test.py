import numpy as np
import pytest

from mmrec_jax.data.prepared.shard_tokens import Shard, ShardTokens
from mmrec_jax.data.prepared.shard_writer import BLOCK_BYTES, ShardWriter
from mmrec_jax.errors import UserError

_BLOCK = BLOCK_BYTES // 2  # tokens of a block
_LENGTHS = (2 * _BLOCK + 77, 5, _BLOCK)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three shards and what is in them."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    tokens = rng.integers(0, 1 << 16, sum(_LENGTHS)).astype("<u2")
    entries = []
    for number, part in enumerate(np.split(tokens, np.cumsum(_LENGTHS)[:-1])):
        writer = ShardWriter(folder, f"train-{number:05d}")
        for piece in np.array_split(part, 3):
            if len(piece):
                writer.add(piece, np.array([[len(piece), 0, 0]]))
        entries.append(writer.close())
    return folder, entries, tokens


def _open(files):
    folder, entries, tokens = files
    shards = [Shard(folder / entry["tokens_file"], entry, "<u2") for entry in entries]
    return ShardTokens(shards), tokens.astype(np.int32)


def test_slices_are_those_of_one_array(files, rng):
    stored, tokens = _open(files)
    assert len(stored) == len(tokens)
    borders = [0, 1, *np.cumsum(_LENGTHS).tolist(), len(tokens) - 1, _BLOCK, 2 * _BLOCK]
    ends = [*borders, *(border - 1 for border in borders), *rng.integers(0, len(tokens), 9)]
    for start in ends:
        for stop in ends:
            found = stored[start:stop]
            assert found.dtype == np.int32
            assert (found == tokens[start:stop]).all()
            assert len(found) == len(tokens[start:stop])
    assert (stored[:] == tokens).all()


@pytest.mark.parametrize("shape", [(0,), (50,), (4, 9)])
def test_places_are_those_of_one_array(files, rng, shape):
    stored, tokens = _open(files)
    places = rng.integers(0, len(tokens), shape)
    assert stored[places].dtype == np.int32
    assert np.array_equal(stored[places], tokens[places])


def test_what_an_array_would_read_otherwise_is_refused(files):
    stored, tokens = _open(files)
    for places in ([-1], [len(tokens)]):
        with pytest.raises(IndexError):
            stored[np.array(places)]
    with pytest.raises(ValueError, match="step 1"):
        stored[::2]


@pytest.mark.parametrize("where", [0, 2 * _BLOCK + 70])
def test_a_flipped_bit_is_found_when_it_is_read_and_not_before(files, tmp_path, where):
    folder, entries, tokens = files
    path = tmp_path / "shard"
    data = bytearray((folder / entries[0]["tokens_file"]).read_bytes())
    data[2 * where] ^= 16
    path.write_bytes(data)
    shard = Shard(path, entries[0], "<u2")
    other = slice(_BLOCK, 2 * _BLOCK)
    assert (shard.read(other.start, other.stop) == tokens[other]).all()
    for _ in range(2):
        with pytest.raises(UserError, match="shard: this shard is damaged between the bytes"):
            shard.read(where + 1, where + 2)
        with pytest.raises(UserError, match="is damaged"):
            shard.gather(np.array([_BLOCK, where + 1]))


def test_every_bit_is_guarded(files, tmp_path, rng):
    folder, entries, _ = files
    data = (folder / entries[2]["tokens_file"]).read_bytes()
    for place in rng.integers(0, len(data), 10):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "shard").write_bytes(flipped)
        with pytest.raises(UserError, match="is damaged"):
            Shard(tmp_path / "shard", entries[2], "<u2").read(0, 1)


def test_a_missing_shard_or_one_of_another_size_is_named(files, tmp_path):
    entry = files[1][1]
    path = tmp_path / "train-00001.tokens"
    with pytest.raises(UserError, match=r"00001.tokens: this shard cannot be read: No such file"):
        Shard(path, entry, "<u2")
    path.write_bytes(b"12345678")
    with pytest.raises(UserError, match="has 8 bytes; by its manifest it has 10"):
        Shard(path, entry, "<u2")
