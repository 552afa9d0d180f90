"""Stores with hand-made tokens; texts and tokenizers are those of tests/tokenizers."""

import numpy as np
import pytest

from mmrec_jax.data.token_store import TokenStore
from tests.tokenizers.conftest import all_tokenizers, hugging_face_json, texts

__all__ = ["all_tokenizers", "hugging_face_json", "texts"]


def store_of(lengths):
    """Documents with these numbers of pairs, in which every token occurs once."""
    lengths = np.asarray(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    return TokenStore(
        tokens=np.arange(1, offsets[-1] + 1, dtype=np.int32),
        offsets=offsets,
        byte_counts=lengths * 3,
        character_counts=lengths * 2,
    )


@pytest.fixture(scope="session")
def make_store():
    return store_of
