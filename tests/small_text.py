"""Text in which every token occurs once, and streams of it."""

import itertools
import random

import numpy as np

from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore


class NumberTokenizer:
    """A word is a number, and the number is its id."""

    bos_id, eos_id, vocab_size, fingerprint = 0, 1, 2**31, "numbers"

    def encode(self, text, continues=False):
        return np.array(text.split(), np.int32)


def documents_of(lengths, first=2):
    """Lists of consecutive numbers, each of which occurs once."""
    ends = list(itertools.accumulate(lengths, initial=first))
    return [list(range(a, b)) for a, b in itertools.pairwise(ends)]


def stored(lengths, first=2, name="stored"):
    """The same documents as a store."""
    tokens = [[0, *document, 1] for document in documents_of(lengths, first)]
    return TokenStore(
        tokens=np.array([*itertools.chain(*tokens)], np.int32),
        offsets=np.cumsum([0, *map(len, tokens)]),
        byte_counts=np.array(lengths) * 3,
        character_counts=np.array(lengths) * 2,
        name=name,
    )


_choose = random.Random(0)
LENGTHS = [_choose.randint(1, 60) for _ in range(120)] + [400]
_HALVES = ((LENGTHS[:80], 2, "a"), (LENGTHS[80:], 2 + sum(LENGTHS[:80]), "b"))
SOURCES = {
    "stored": (stored(LENGTHS),),
    "less": (stored(LENGTHS[1:]),),
    "two stored": tuple(stored(*half) for half in _HALVES),
}


def text_dataset(kind, *, carry_state=False, validation=None, **fields):
    """The documents of `LENGTHS` as training text of one kind."""
    config = TextConfig(**{"train": "-", "seq_len": 16, "packing_windows": 40, **fields})
    return TextDataset(config, NumberTokenizer(), SOURCES[kind], validation, carry_state)
