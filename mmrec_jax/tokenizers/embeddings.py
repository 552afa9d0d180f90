"""Rows of an embedding matrix for the tokens that a tokenizer was extended by."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile

Matrix = NDArray[Any]  # float16, bfloat16, float32 or float64
Method = Literal["mean", "average"]
_CHUNK, _TOKENS = 4_096, 1_024  # rows, and new tokens' rows, that are float64 at once


def constituents(base: BpeFile, extended: BpeFile) -> dict[int, list[int]]:
    """The tokens of `base` that each new token is made of, left to right, by its id.

    The merge that first makes a token is taken apart until only old tokens are left.

    Raises:
      UserError: `extended` is not `base` with more tokens and merges.
    """
    old = base.vocab | base.added
    new = extended.vocab | extended.added
    first = range(base.next_id, base.next_id + len(new) - len(old))
    same = extended.merges[: len(base.merges)] == base.merges and old.items() <= new.items()
    if not same or sorted(new.values())[len(old) :] != list(first):
        raise UserError(f"{extended.name}: this is not {base.name} with more tokens after its own")
    parts: dict[str, list[int]] = {token: [index] for token, index in base.vocab.items()}
    tokens = {index: token for token, index in extended.vocab.items()}
    try:
        for left, right in extended.merges[len(base.merges) :]:
            parts.setdefault(left + right, parts[left] + parts[right])
        return {index: parts[tokens[index]] for index in first}
    except KeyError as error:
        raise UserError(f"{extended.name}: no merge makes the new token {error}") from None


def first_rows(
    read: Callable[[NDArray[Any]], Matrix],
    used: int,
    parts: Mapping[int, Sequence[int]],
    method: Method,
    count: int,
    dtype: Any,
) -> Matrix:
    """The rows [count, D] behind the first `used` of a matrix, which belong to tokens.

    Methods: "mean", the mean of the rows of a token's constituents (Gee et al. 2022,
    arXiv:2402.09977); "average", the mean of all used rows (Hewitt 2021, "Initializing new word
    embeddings for pretrained language models").

    `read` gives the rows with some indices; few are asked for at once, wherever the matrix is.
    `parts` are the constituents of each new token, whose ids follow the old ones. Rows behind the
    new tokens' are the mean of the used ones. All is computed in float64.
    """
    indices = np.arange(used)
    chunks = (read(indices[start : start + _CHUNK]) for start in range(0, used, _CHUNK))
    center = np.sum([chunk.astype(np.float64).sum(axis=0) for chunk in chunks], axis=0) / used
    result = np.empty((count, len(center)), dtype)
    result[:] = center
    tokens = [] if method == "average" else sorted(parts)
    for start in range(0, len(tokens), _TOKENS):
        some = tokens[start : start + _TOKENS]
        old = np.concatenate([parts[token] for token in some])
        counts = np.array([len(parts[token]) for token in some])
        sums = np.add.reduceat(read(old).astype(np.float64), np.cumsum(counts) - counts)
        result[np.array(some) - used] = sums / counts[:, None]
    return result
