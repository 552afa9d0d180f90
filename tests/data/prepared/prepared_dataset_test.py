"""Training from a prepared folder is training from the same documents in memory."""

import dataclasses
import itertools
import json
import os
import shutil

import numpy as np
import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.prepared.prepared_dataset import open_prepared, validation_documents
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.train.prepare import load_data
from tests.small_corpus import prepare_small, write_corpus
from tests.small_run import small_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("prepared")
    prepare_small(base / "out", write_corpus(base))
    return base / "out"


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def _config(folder, **overrides):
    return small_config(folder, data__source="prepared", **overrides)


def _in_memory(data):
    """The same data set with all in memory."""
    stores = [
        TokenStore(store.tokens[:], store.offsets, store.byte_counts, store.character_counts)
        for store in (data.train, data.validation)
    ]
    return TextDataset(data.config, data.tokenizer, *stores, data.carry_state)


def _assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert np.array_equal(one[name], other[name])


@pytest.mark.parametrize("carry", [False, True])
def test_batches_are_those_of_the_same_documents_in_memory(folder, carry):
    data = open_prepared(_config(folder, train__carry_state=carry))
    memory = _in_memory(data)
    batches, expected = data.batches(8), memory.batches(8)
    for _ in range(90):  # more than an epoch
        _assert_same(next(batches), next(expected))
    for _, (one, other) in zip(
        range(9),
        zip(
            evaluation_batches(data.validation, 4, 16, carry=carry),
            evaluation_batches(memory.validation, 4, 16, carry=carry),
            strict=True,
        ),
        strict=False,
    ):
        _assert_same(one, other)
    _assert_same(data.longest(3, 64), memory.longest(3, 64))
    for length in ({"epochs": 2.0}, {"tokens": 5000}):
        assert data.steps_for(8, **length) == memory.steps_for(8, **length)
    assert data.describe() == memory.describe()
    # The position can be saved, and belongs to this text alone.
    state = json.loads(json.dumps(batches.get_state()))
    later = open_prepared(_config(folder, train__carry_state=carry)).batches(8)
    later.set_state(state)
    _assert_same(next(later), next(batches))
    with pytest.raises(UserError, match="belongs to other data: tokens"):
        memory.batches(8).set_state(state)


def test_a_run_reads_it(folder, tmp_path):
    data = load_data(_config(folder), Workdir(tmp_path / "run"))
    assert data.train.num_documents > 200
    assert (tmp_path / "run").is_dir()
    with pytest.raises(UserError, match=r"suffix_weight is 2.0; .* it must be 1"):
        load_data(_config(folder, turkish__suffix_weight=2.0), Workdir(tmp_path / "run"))


def test_folders_are_read_one_after_the_other(folder, tmp_path):
    pattern = write_corpus(tmp_path).split(",")[1]
    other = tmp_path / "other"
    prepare_small(other, pattern)
    one, two, both = (
        open_prepared(_config(name)) for name in (folder, other, f"{folder}, {other}")
    )
    assert np.array_equal(
        both.train.tokens[:], np.concatenate([one.train.tokens[:], two.train.tokens[:]])
    )
    assert both.validation.num_documents == sum(x.validation.num_documents for x in (one, two))
    assert len({data.train.fingerprint for data in (one, two, both)}) == 3


def test_the_texts_of_the_validation_split(folder):
    documents = validation_documents(_config(folder))
    data = open_prepared(_config(folder))
    again = TokenStore.from_documents(documents, data.tokenizer)
    assert np.array_equal(again.tokens, data.validation.tokens[:])


def _flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_what_is_wrong_with_a_folder_is_named(copy, tmp_path):
    def refused(match):
        with pytest.raises(UserError, match=match):
            open_prepared(_config(copy))

    shard, documents = copy / "train-00001.tokens", copy / "validation-00000.documents.npy"
    saved = {path: path.read_bytes() for path in (shard, documents, copy / "manifest.json")}
    os.truncate(shard, 1000)
    refused(r"train-00001.tokens: this shard has 1,000 bytes; by its manifest")
    shard.unlink()
    refused(r"train-00001.tokens: this shard cannot be read: No such file")
    shard.write_bytes(saved[shard])
    _flip(documents, -1)
    refused(r"validation-00000.documents.npy: this file is damaged")
    documents.unlink()
    refused(r"validation-00000.documents.npy: this file cannot be read")
    documents.write_bytes(saved[documents])
    manifest = copy / "manifest.json"
    manifest.write_bytes(saved[manifest].replace(b'"bytes": 8', b'"bytes": 9'))
    refused(r"manifest.json: this file is damaged: it does not have the checksum")
    manifest.write_bytes(saved[manifest][:-200])
    refused(r"manifest.json: this file is damaged")
    manifest.write_bytes(saved[manifest].replace(b'"format": 1', b'"format": 2'))
    refused(r"manifest.json: its format is 2; this version reads 1")
    manifest.unlink()
    refused(r"config.data.train: .* is not a folder that mmrec data prepare wrote \(manifest")
    (copy / "journal.json").write_text("{}")
    refused(r"the preparation of .* is not complete; give the same")
    manifest.write_bytes(saved[manifest])
    open_prepared(_config(copy))


def test_a_flipped_byte_is_named_when_it_is_trained_on(copy):
    _flip(copy / "train-00002.tokens", 100)
    batches = open_prepared(_config(copy)).batches(8)
    with pytest.raises(UserError, match=r"train-00002.tokens: this shard is damaged between the"):
        list(itertools.islice(batches, 90))


def test_another_tokenizer_is_refused(copy, folder, tmp_path):
    other = CharTokenizer.from_texts(["abc"])
    with pytest.raises(UserError, match="was prepared with another tokenizer than that of runs/a"):
        open_prepared(dataclasses.replace(_config(copy), init_from="runs/a"), other)
    (tmp_path / "a.txt").write_text("abc\n\nab\n\ncab\n\nbac\n\nca\n\nbca\n\ncc")
    letters, settings = tmp_path / "letters", PrepareSettings(validation_fraction=0.3)
    prepare_small(letters, str(tmp_path / "a.txt"), settings, other)
    with pytest.raises(UserError, match=r"letters was prepared with another tokenizer than .*copy"):
        open_prepared(_config(f"{copy},{letters}"))
    shutil.rmtree(copy / "tokenizer")
    other.save(copy / "tokenizer")
    with pytest.raises(UserError, match=r"copy/tokenizer: this is not the tokenizer that the text"):
        open_prepared(_config(copy))
