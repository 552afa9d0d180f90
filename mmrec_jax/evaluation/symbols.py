"""Which tokens a probe may draw."""

import re

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.tokenizer import Tokenizer

_SPECIAL = re.compile(r"<.+>", re.DOTALL)  # `Tokenizer.id_to_piece`: special ids and single bytes


def ordinary_ids(tokenizer: Tokenizer) -> NDArray[np.int32]:
    """The ids that stand for whole characters, ascending: no special id, no byte of a character."""
    ids = [
        index
        for index in range(tokenizer.vocab_size)
        if index not in (tokenizer.bos_id, tokenizer.eos_id)
        and not _SPECIAL.fullmatch(tokenizer.id_to_piece(index))
        and (text := tokenizer.decode([index]))
        and "\N{REPLACEMENT CHARACTER}" not in text
    ]
    return np.asarray(ids, np.int32)


def rare_ids(ordinary: NDArray[np.int32], text: NDArray[np.int32]) -> NDArray[np.int32]:
    """The rarer half, ascending, of the ordinary ids that occur in `text`.

    An id that never occurs may never have been trained; a common one would stand in the text by
    chance.
    """
    counts = np.bincount(text, minlength=int(ordinary.max(initial=0)) + 1)[ordinary]
    by_count = ordinary[np.argsort(counts, kind="stable")]
    occurring = by_count[np.count_nonzero(counts == 0) :]
    return np.sort(occurring[: -(-len(occurring) // 2)])
