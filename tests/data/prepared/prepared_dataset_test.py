"""Training from a prepared folder is training from the same documents in memory."""

import dataclasses
import os
import shutil

import numpy as np
import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.prepared.prepared_dataset import open_prepared, validation_documents
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.shard_tokens import Shard, ShardTokens
from mmrec_jax.data.prepared.shard_writer import BLOCK_BYTES, ShardWriter
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.train.setup import load_data
from tests.small_corpus import prepare_small, write_corpus
from tests.small_data import assert_same, refused, take
from tests.small_run import small_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("prepared")
    prepare_small(base / "out", write_corpus(base))
    return base / "out"


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def config_of(folder, **overrides):
    return small_config(folder, data__source="prepared", **overrides)


def opened(folder, **overrides):
    return open_prepared(config_of(folder, **overrides))


@pytest.mark.parametrize("carry", [False, True])
def test_batches_are_those_of_the_same_documents_in_memory(folder, carry):
    data = opened(folder, train__carry_state=carry)
    stores = [
        TokenStore(store.tokens[:], store.offsets, store.byte_counts, store.character_counts)
        for store in (data.train, data.validation)
    ]
    memory = TextDataset(data.config, data.tokenizer, *stores, data.carry_state)
    assert_same(take(data.batches(8), 90), take(memory.batches(8), 90))  # more than an epoch
    assert_same(
        *(evaluation_batches(d.validation, 4, 16, carry=carry) for d in (data, memory)),
    )
    assert_same([data.longest(3, 64)], [memory.longest(3, 64)])
    for length in ({"epochs": 2.0}, {"tokens": 5000}):
        assert data.steps_for(8, **length) == memory.steps_for(8, **length)
    with refused("tokens"):
        memory.batches(8).set_state(data.batches(8).get_state())
    again = TokenStore.from_documents(validation_documents(config_of(folder)), data.tokenizer)
    assert np.array_equal(again.tokens, data.validation.tokens[:])


def test_a_run_reads_it(folder, tmp_path):
    data = load_data(config_of(folder), Workdir(tmp_path / "run"))
    assert data.train.num_documents > 200
    assert (tmp_path / "run").is_dir()
    with refused("config.turkish.suffix_weight is 2.0"):
        load_data(config_of(folder, turkish__suffix_weight=2.0), Workdir(tmp_path / "run"))


def test_folders_are_read_one_after_the_other(folder, tmp_path):
    pattern = write_corpus(tmp_path).split(",")[1]
    prepare_small(tmp_path / "other", pattern)
    one, two, both = map(opened, (folder, tmp_path / "other", f"{folder}, {tmp_path / 'other'}"))
    expected = np.concatenate([one.train.tokens[:], two.train.tokens[:]])
    assert np.array_equal(both.train.tokens[:], expected)
    assert both.validation.num_documents == sum(x.validation.num_documents for x in (one, two))
    assert len({data.train.fingerprint for data in (one, two, both)}) == 3


def _flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def _replace(old, new):
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


@pytest.mark.parametrize(
    ("name", "damage", "named"),
    [
        ("train-00001.tokens", lambda path: os.truncate(path, 1000), "1,000"),
        ("train-00001.tokens", os.unlink, "No such file"),
        ("validation-00000.documents.npy", lambda path: _flip(path, -1), "damaged"),
        ("validation-00000.documents.npy", os.unlink, "cannot be read"),
        ("manifest.json", _replace(b'"bytes": 8', b'"bytes": 9'), "checksum"),
        ("manifest.json", lambda path: os.truncate(path, 300), "damaged"),
        ("manifest.json", _replace(b'"format": 1', b'"format": 2'), "format is 2"),
        ("manifest.json", os.unlink, "config.data.train"),
        ("tokenizer", lambda path: CharTokenizer.from_texts(["abc"]).save(path), "tokenizer"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(copy, name, damage, named):
    if name == "tokenizer":
        shutil.rmtree(copy / name)
    damage(copy / name)
    with refused(copy, name, named):
        opened(copy)


def test_an_incomplete_preparation_and_another_tokenizer_are_refused(copy, tmp_path):
    other = CharTokenizer.from_texts(["abc"])
    with refused("tokenizer", "runs/a"):
        open_prepared(dataclasses.replace(config_of(copy), init_from="runs/a"), other)
    (tmp_path / "a.txt").write_text("abc\n\nab\n\ncab\n\nbac\n\nca\n\nbca\n\ncc")
    letters, settings = tmp_path / "letters", PrepareSettings(validation_fraction=0.3)
    prepare_small(letters, str(tmp_path / "a.txt"), settings, other)
    with refused(letters, copy, "tokenizer"):
        opened(f"{copy},{letters}")
    (copy / "manifest.json").unlink()
    (copy / "journal.json").write_text("{}")
    with refused(copy, "not complete"):
        opened(copy)


# The tokens of shards.

_BLOCK = BLOCK_BYTES // 2  # tokens of a block
_LENGTHS = (2 * _BLOCK + 77, 5, _BLOCK)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three shards and what is in them."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    tokens = rng.integers(0, 1 << 16, sum(_LENGTHS)).astype("<u2")
    entries = []
    for number, part in enumerate(np.split(tokens, np.cumsum(_LENGTHS)[:-1])):
        writer = ShardWriter(folder, f"train-{number:05d}")
        for each in np.array_split(part, 3):
            if len(each):
                writer.add(each, np.array([[len(each), 0, 0]]))
        entries.append(writer.close())
    return [folder / entry["tokens_file"] for entry in entries], entries, tokens.astype(np.int32)


def test_tokens_of_shards_are_those_of_one_array(shards, rng):
    paths, entries, tokens = shards
    stored = ShardTokens([Shard(*each, "<u2") for each in zip(paths, entries, strict=True)])
    assert len(stored) == len(tokens)
    borders = [0, 1, *np.cumsum(_LENGTHS).tolist(), len(tokens) - 1, _BLOCK, 2 * _BLOCK]
    ends = [*borders, *(border - 1 for border in borders), *rng.integers(0, len(tokens), 3)]
    for start in ends:
        for stop in ends:
            assert stored[start:stop].dtype == np.int32
            assert np.array_equal(stored[start:stop], tokens[start:stop])
    assert (stored[:] == tokens).all()
    for shape in ((0,), (50,), (4, 9)):
        indices = rng.integers(0, len(tokens), shape)
        assert stored[indices].dtype == np.int32
        assert np.array_equal(stored[indices], tokens[indices])
    for indices in ([-1], [len(tokens)]):
        with pytest.raises(IndexError):
            stored[np.array(indices)]
    with pytest.raises(ValueError, match="step 1"):
        stored[::2]


@pytest.mark.parametrize("token", [0, 1, 7, 999, _BLOCK - 1, 2 * _BLOCK + 70])
def test_a_flipped_bit_is_found_when_it_is_read_and_not_before(shards, tmp_path, token):
    paths, entries, tokens = shards
    path = shutil.copy(paths[0], tmp_path / "shard")
    _flip(path, 2 * token)
    shard = Shard(path, entries[0], "<u2")
    assert (shard.read(_BLOCK, 2 * _BLOCK) == tokens[_BLOCK : 2 * _BLOCK]).all()
    for _ in range(2):
        with refused("shard"):
            shard.read(token // _BLOCK * _BLOCK, token // _BLOCK * _BLOCK + 1)
        with refused("shard"):
            shard.gather(np.array([_BLOCK, token]))
