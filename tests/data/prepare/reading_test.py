"""Training from a prepared folder is training from the same documents in memory."""

import json
import shutil

import numpy as np
import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.prepare.reading import open_prepared, prepared_validation
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.tokenizers.char import CharTokenizer
from tests.small_corpus import prepare_small, write_corpus
from tests.small_data import assert_same, config_of, refused, take


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("prepared")
    prepare_small(base / "out", write_corpus(base))
    return base / "out"


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy, [2]")


def opened(train, tokenizer=None, **fields):
    return open_prepared(config_of("prepared", train, **{"seq_len": 32, **fields}), tokenizer)


def texts(data, store):
    ends = zip(store.offsets, store.offsets[1:], strict=False)
    return [data.tokenizer.decode(store.tokens[a + 1 : b - 1]) for a, b in ends]


@pytest.mark.parametrize("carry", [False, True])
def test_the_batches_are_those_of_the_documents_in_memory(folder, tmp_path, carry):
    prepared = opened(folder, train__carry_state=carry)
    train = [Document("", text) for text in texts(prepared, prepared.train[0])]
    held = prepared_validation(config_of("prepared", folder))
    config = config_of("treebank", seq_len=32, train__carry_state=carry)
    memory = TextDataset.from_documents(config, {"": train}, held, tmp_path)
    assert_same(take(prepared.batches(4), 50), take(memory.batches(4), 50))
    layouts = [
        evaluation_batches(each.validation, 4, 32, carry=carry) for each in (prepared, memory)
    ]
    assert_same(*layouts)


def test_folders_are_sources_with_weights(folder, tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{n}. satır burada durur\n\n" for n in range(200)))
    prepare_small(tmp_path / "out", f"{tmp_path / 'a.txt'}", PrepareSettings(validation_fraction=0))
    train = f"{folder},{tmp_path / 'out'}"
    data = opened(train, weights=(3.0, 1.0))
    assert [store.name for store in data.train] == [str(folder), str(tmp_path / "out")]
    assert data.validation.num_documents == opened(folder).validation.num_documents
    assert opened(tmp_path / "out").validation is None
    with refused("validation"):
        prepared_validation(config_of("prepared", tmp_path / "out"))
    both = opened(f"{folder},{folder}")
    assert both.validation.num_documents == 2 * opened(folder).validation.num_documents
    with refused("config.data.weights"):
        opened(train, weights=(3.0,)).batches(4)


def test_a_moved_folder_is_the_same_text(folder, copy):
    stores = [opened(each).train[0] for each in (folder, copy)]
    assert stores[0].fingerprint == stores[1].fingerprint
    assert isinstance(stores[0].tokens, np.memmap)


@pytest.mark.parametrize("name", ["tokens", "offsets", "byte_counts", "character_counts"])
def test_a_damaged_file_is_named(copy, name):
    path = copy / "train" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with refused(path, "again"):
        opened(copy)
    path.write_bytes(data[:-8])
    with refused(path, "again"):
        opened(copy)
    path.unlink()
    with refused(path, "again"):
        opened(copy)


def test_another_tokenizer_is_refused(folder, copy, tmp_path):
    with refused(folder, "tokenizer"):
        opened(folder, CharTokenizer.from_texts(["abc"]))
    (tmp_path / "a.txt").write_text("abc\n\ncab\n\nbca\n")
    letters = tmp_path / "letters"
    prepare_small(letters, f"{tmp_path}/a.txt", tokenizer=CharTokenizer.from_texts(["abc"]))
    with refused(letters, "tokenizer"):
        opened(f"{folder},{letters}")


def test_what_is_no_prepared_folder_is_refused(copy, tmp_path):
    path = copy / "manifest.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: record[name] for name in record if name != "counts"}))
    with refused(path, "damaged"):
        opened(copy)
    path.write_text(json.dumps({**record, "format": 1}))
    with refused(path, "prepare the text again"):
        opened(copy)
    path.unlink()
    with refused(copy, "not complete"):
        opened(copy)
    with refused(tmp_path, "not a folder"):
        opened(tmp_path)
