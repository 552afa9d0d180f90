"""Multi-query associative recall (MQAR): pairs of tokens, then every key again.

By the definition of Zoology (arXiv 2312.04927, section 3.1), without filler between the queries:
`k1 v1 k2 v2 ... ` and then the keys once more in another order; at each key's second occurrence
the model should predict the value that followed the first. Keys are distinct, values are distinct,
and no token is both.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.models.logits import by_chunks
from mmrec_jax.typing import Array

_CHUNK = 32  # tokens per call


@dataclasses.dataclass(frozen=True)
class RecallScore:
    """How well one number of pairs is recalled."""

    pairs: int  # in a sequence
    queries: int  # asked, over all sequences
    accuracy: float  # share of the queries whose value is the most likely of the sequence's values
    error: float | None  # its standard error over sequences; None of a single one
    chance: float  # 1 / pairs
    right_nll: float  # mean -log p of the right value
    # Mean -log p of the sequence's other values; None where there is no other
    other_nll: float | None


def score_recall(
    model: LanguageModel,
    params: Params,
    ids: NDArray[np.int32],
    pairs: Sequence[int],
    *,
    begin_id: int | None,
    sequences: int,
    rows: int = 64,
    seed: int = 0,
) -> list[RecallScore]:
    """Asks every key of `sequences` random sequences for each number of pairs.

    Keys are drawn from the lower half of `ids`, values from the upper half; no number of pairs is
    larger than a half. A sequence begins with `begin_id`, or with the first key if that is
    None; `rows` are read side by side, with `params` on one device.
    """
    model, widest = with_state(model), max(pairs)
    scores = []
    tokens = sum(sequences * (3 * count + (begin_id is not None)) for count in pairs)
    bar = tqdm(total=tokens, unit=" tokens", unit_scale=True, desc="MQAR")
    for count in pairs:
        rng = np.random.default_rng(hashed_seed("recall", seed, count))
        drawn = [draw_recall(rng, ids, count, begin_id) for _ in range(sequences)]
        asked, values, answers = (np.stack(part) for part in zip(*drawn, strict=True))
        parts = []
        for first in range(0, sequences, rows):
            group = np.s_[first : first + rows]
            parts.append(_ask(model, params, asked[group], values[group], rows, widest))
            bar.update(asked[group].size)
        nll = np.concatenate(parts)
        shares = first_rank(nll, answers).mean(axis=-1)
        own = np.take_along_axis(nll, answers[..., None], axis=-1)[..., 0]
        others = nll.sum(axis=-1) - own
        scores.append(
            RecallScore(
                pairs=count,
                queries=sequences * count,
                accuracy=float(shares.mean()),
                error=float(shares.std(ddof=1) / sequences**0.5) if sequences > 1 else None,
                chance=1 / count,
                right_nll=float(own.mean()),
                other_nll=float(others.mean() / (count - 1)) if count > 1 else None,
            )
        )
    bar.close()
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
    model: LanguageModel,
    params: Params,
    tokens: NDArray[np.int32],
    values: NDArray[np.int32],
    rows: int,
    widest: int,
) -> NDArray[np.float64]:
    """-log p of each sequence's values at each of its queries, [sequences, queries, values].

    `tokens` [sequences, length] and `values` [sequences, pairs] are padded to shapes that serve
    every number of pairs.
    """
    (count, length), pairs = tokens.shape, values.shape[1]
    below, width = rows - count, -(-length // _CHUNK) * _CHUNK
    padding = (0, below), (0, width - length)
    real = np.pad(np.ones_like(tokens), padding)
    tokens, values = np.pad(tokens, padding), np.pad(values, ((0, below), (0, widest - pairs)))
    state, parts = colocate(params, model.initial_state(rows)), []
    for begin in range(0, width, _CHUNK):
        chunk = np.s_[:, begin : begin + _CHUNK]
        state = with_room(state, _CHUNK)
        nll, state = _candidate_nll(model, params, tokens[chunk], state, real[chunk], values)
        parts.append(np.asarray(nll[:count, :, :pairs], np.float64))
    return np.concatenate(parts, axis=1)[:, length - pairs : length]


@jax.jit
def _candidate_nll(
    model: LanguageModel,
    params: Params,
    tokens: Array,
    state: State,
    segment_ids: Array,
    values: Array,
) -> tuple[Array, State]:
    """-log p of each row's values [B, P] after each token [B, T, P], and the state."""
    output = model.apply(params, tokens, state, segment_ids)
    index = jnp.broadcast_to(values[:, None], (*tokens.shape, values.shape[1]))
    _, nll = by_chunks(_nll_of, output, index)
    return nll, output.state


def _nll_of(logits: Array, index: Array) -> tuple[Array, Array]:
    chosen = jnp.take_along_axis(logits, index, axis=-1)
    return jnp.zeros(()), jax.nn.logsumexp(logits, axis=-1, keepdims=True) - chosen


def first_rank(nll: NDArray[np.floating], right: NDArray[np.integer]) -> NDArray[np.float64]:
    """The chance that the right candidate is chosen as the most likely one.

    Candidates that share the first rank are chosen among at random, so a model that finds all of
    C candidates equally likely gets 1 / C, and not 0 or 1.

    `nll` [..., C] is `-log p` of each candidate, `right` [...] the index of the right one; [...] is
    returned, 0 where another one is better, else 1 / (candidates of the first rank). NaN is wrong.
    """
    own = np.take_along_axis(nll, right[..., None], axis=-1)
    tied = np.count_nonzero(nll == own, axis=-1)
    best = np.all(nll >= own, axis=-1)
    return np.where(best, 1.0 / np.maximum(tied, 1), 0.0)
