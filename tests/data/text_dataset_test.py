import dataclasses

import numpy as np
import pytest

from mmrec_jax.config import Config, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.data.pipeline import make_train_iterator, steps_for
from mmrec_jax.data.text_dataset import TextDataset

_CONFIG = Config(
    data=TreebankConfig(seq_len=32),
    tokenizer=TokenizerConfig(kind="byte"),
    train=TrainConfig(steps=5),
)


@pytest.fixture
def data(documents, tmp_path):
    splits = {"train": documents[:80], "validation": documents[80:]}
    return TextDataset.from_documents(_CONFIG, splits, tmp_path)


def test_both_splits_are_tokens(data, documents):
    assert data.train.num_documents == 80
    assert data.validation.num_documents == len(documents) - 80
    first = data.tokenizer.decode(data.train.tokens[: data.train.offsets[1]])
    assert first == documents[0].text


def test_batches_and_lengths_are_those_of_the_pipeline(data):
    pairs = [
        next(each)["inputs"]
        for each in (
            data.batches(4, process_index=1, process_count=2),
            make_train_iterator(data.train, _CONFIG.data, 4, process_index=1, process_count=2),
        )
    ]
    np.testing.assert_array_equal(*pairs)
    assert data.steps_for(4, epochs=2.0) == steps_for(data.train, _CONFIG.data, 4, epochs=2.0)
    assert data.steps_for(4, tokens=999) == steps_for(data.train, _CONFIG.data, 4, tokens=999)


def test_rows_continue_each_other_if_the_run_carries_its_state(documents, tmp_path):
    splits = {"train": documents[:80], "validation": documents[80:]}
    train = TrainConfig(steps=5, carry_state=True)
    data = TextDataset.from_documents(dataclasses.replace(_CONFIG, train=train), splits, tmp_path)
    expected = make_train_iterator(data.train, _CONFIG.data, 4, carry_state=True)
    np.testing.assert_array_equal(next(data.batches(4))["inputs"], next(expected)["inputs"])
    assert data.steps_for(4, tokens=1281) == 11


def test_it_says_what_it_is(data, documents):
    size = sum(len(document.text.encode()) for document in documents[:80])
    assert data.describe() == (
        f"treebank, 80 training documents, {size:,} bytes, {size + 80:,} tokens "
        f"({size / (size + 80):.2f} bytes/token, 258 in the vocabulary); 40 validation documents"
    )
