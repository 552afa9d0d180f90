"""Multi-query associative recall (MQAR): pairs of tokens, then every key again.

By the definition of Zoology (arXiv 2312.04927, section 3.1), without filler between the queries:
`k1 v1 k2 v2 ... ` and then the keys once more in another order; at each key's second occurrence
the model should predict the value that followed the first. Keys are distinct, values are distinct,
and no token is both.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.evaluation.first_place import first_place
from mmrec_jax.evaluation.reader import Reader
from mmrec_jax.typing import Array

_PIECE = 32  # tokens a call


@dataclasses.dataclass(frozen=True)
class RecallScore:
    """How well so many pairs are recalled.

    Attributes:
      pairs: in a sequence.
      queries: asked, over all sequences.
      accuracy: share of the queries whose value is the most likely of the sequence's values.
      error: its standard error over sequences; None of a single one.
      chance: 1 / pairs.
      right_nats: mean -log p of the right value.
      other_nats: mean -log p of the sequence's other values; None where there is no other.
    """

    pairs: int
    queries: int
    accuracy: float
    error: float | None
    chance: float
    right_nats: float
    other_nats: float | None


def most_pairs(ids: NDArray[np.int32]) -> int:
    """Pairs in the longest sequence that so many ids allow."""
    return len(ids) // 2


def score_recall(
    reader: Reader,
    ids: NDArray[np.int32],
    pairs: Sequence[int],
    *,
    begin_id: int | None,
    sequences: int,
    rows: int = 64,
    seed: int = 0,
    on_read: Callable[[int], object] = lambda tokens: None,
) -> list[RecallScore]:
    """Asks every key of `sequences` random sequences for each number of pairs.

    Args:
      reader: the model.
      ids: what is drawn from: keys from the lower half, values from the upper half.
      pairs: numbers of pairs, each at most `most_pairs(ids)`.
      begin_id: what each sequence begins with; None: the first key.
      sequences: a number of pairs.
      rows: sequences side by side.
      seed: of the draws.
      on_read: called after each call with the number of tokens it read.
    """
    widest = max(pairs)

    @jax.jit
    def candidate_nats(
        params: Any, tokens: Array, state: Any, segment_ids: Array, values: Array
    ) -> tuple[Array, Any]:
        """-log p of each row's values [B, P] after each token [B, T, P], and the state."""
        logits, state = reader.forward(params, tokens, state, segment_ids)
        index = jnp.broadcast_to(values[:, None], (*tokens.shape, values.shape[1]))
        chosen = jnp.take_along_axis(logits, index, axis=-1)
        return jax.nn.logsumexp(logits, axis=-1, keepdims=True) - chosen, state

    scores = []
    for count in pairs:
        rng = np.random.default_rng(hashed_seed("recall", seed, count))
        drawn = [draw_recall(rng, ids, count, begin_id) for _ in range(sequences)]
        right, own, others = [], [], []
        for first in range(0, sequences, rows):
            group = drawn[first : first + rows]
            asked = _ask(candidate_nats, reader, group, rows, widest, on_read)
            answers = np.stack([answer for _, _, answer in group])
            right.append(first_place(asked, answers).mean(axis=-1))
            mine = np.take_along_axis(asked, answers[..., None], axis=-1)[..., 0]
            own.append(mine)
            others.append(asked.sum(axis=-1) - mine)
        shares = np.concatenate(right)
        scores.append(
            RecallScore(
                pairs=count,
                queries=sequences * count,
                accuracy=float(shares.mean()),
                error=float(shares.std(ddof=1) / sequences**0.5) if sequences > 1 else None,
                chance=1 / count,
                right_nats=float(np.concatenate(own).mean()),
                other_nats=float(np.concatenate(others).mean() / (count - 1))
                if count > 1
                else None,
            )
        )
    return scores


def draw_recall(
    rng: np.random.Generator, ids: NDArray[np.int32], pairs: int, begin_id: int | None
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """One sequence: its tokens, its values [pairs], and which of them answers each query [pairs].

    The queries are the last `pairs` tokens.
    """
    half = len(ids) // 2
    keys = rng.choice(ids[:half], pairs, replace=False)
    values = rng.choice(ids[half:], pairs, replace=False)
    order = rng.permutation(pairs)
    begin = [] if begin_id is None else [begin_id]
    shown = np.stack([keys, values], axis=1).ravel()
    tokens = np.concatenate([begin, shown, keys[order]]).astype(np.int32)
    return tokens, values, order


def _ask(
    candidate_nats: Callable[..., tuple[Array, Any]],
    reader: Reader,
    group: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]],
    rows: int,
    widest: int,
    on_read: Callable[[int], object],
) -> NDArray[np.float64]:
    """Nats of each sequence's values at each of its queries, [sequences, queries, values]."""
    pairs, length = len(group[0][1]), len(group[0][0])
    width = -(-length // _PIECE) * _PIECE
    tokens, segment_ids = np.zeros((2, rows, width), np.int32)
    values = np.zeros((rows, widest), np.int32)
    for row, (sequence, shown, _) in enumerate(group):
        tokens[row, :length] = sequence
        segment_ids[row, :length] = 1
        values[row, :pairs] = shown
    state, parts = reader.zero_state(rows), []
    for begin in range(0, width, _PIECE):
        places = np.s_[:, begin : begin + _PIECE]
        nats, state = candidate_nats(
            reader.params, tokens[places], state, segment_ids[places], values
        )
        parts.append(np.asarray(nats[: len(group), :, :pairs], np.float64))
        on_read(int(np.count_nonzero(segment_ids[places])))
    return np.concatenate(parts, axis=1)[:, length - pairs : length]
