"""A needle in a haystack: is a pair that was read once, long ago, still known?

A key and its value, random tokens, stand somewhere in a text; the key comes again at its end. The
value should then be more likely than other values, and more likely than after the same text without
the pair.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.evaluation.mqar import first_rank
from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.objectives.cross_entropy import token_nll
from mmrec_jax.typing import Array

TOKENS = 4  # of a key, and of a value
DISTRACTORS = 100
DEPTHS = tuple(range(0, 101, 10))  # percent of the text that stands before the needle
SHORTEST = 2 * TOKENS + 1
FEWEST_IDS = 4  # 4^4 = 256 different values
_CHUNK = 256  # tokens per call


@dataclasses.dataclass(frozen=True)
class NeedleScore:
    """All depths at one length."""

    length: int  # tokens before the key is asked, the begin token and the needle included
    samples: int  # texts, each read with the needle at every depth and without it
    depths: tuple[int, ...]  # percent of the text before the needle
    # Of each depth, share of the samples whose value is the most likely of 101
    accuracy: tuple[float, ...]
    # Of each depth, mean nats per token of the value that the needle saves
    profit: tuple[float, ...]
    # Of each depth, the standard error of `profit` over samples; None of a single one
    error: tuple[float | None, ...]
    accuracy_without: float  # share of the samples whose value comes first without the needle


def score_needle(
    model: LanguageModel,
    params: Params,
    filler: NDArray[np.int32],
    ids: NDArray[np.int32],
    lengths: Sequence[int],
    *,
    begin_id: int,
    samples: int,
    group: int = 2,
    seed: int = 0,
) -> list[NeedleScore]:
    """Reads `samples` texts of each length with the needle at each of `DEPTHS` and without it.

    Texts are cut from `filler`, which has as many tokens as the longest length, and begin with
    `begin_id`; keys and values are drawn from `ids`, at least `FEWEST_IDS`; each length is at least
    `SHORTEST`. Of a `group` of texts side by side each takes a row for every depth and one without
    the needle; `params` are on one device.
    """
    model, versions = with_state(model), 1 + len(DEPTHS)
    scores = []
    tokens = sum(lengths) * -(-samples // group) * group * versions
    bar = tqdm(total=tokens, unit=" tokens", unit_scale=True, desc="needle")
    for length in lengths:
        parts = []
        for first in range(0, samples, group):
            drawn = [
                draw_needle(
                    np.random.default_rng(hashed_seed("needle", seed, length, sample)),
                    filler,
                    ids,
                    length,
                    begin_id,
                )
                for sample in range(first, min(first + group, samples))
            ]
            drawn += drawn[-1:] * (group - len(drawn))  # one shape for the last group too
            texts, keys, candidates = (np.concatenate(part) for part in zip(*drawn, strict=True))
            state = colocate(params, model.initial_state(group * versions))
            for begin in range(0, length, _CHUNK):
                chunk = texts[:, begin : begin + _CHUNK]
                padding = ((0, 0), (0, _CHUNK - chunk.shape[1]))
                real = np.pad(np.ones_like(chunk), padding)
                state = with_room(state, _CHUNK)
                state = jax.block_until_ready(
                    _prefill(model, params, np.pad(chunk, padding), state, real)
                )
                bar.update(chunk.size)
            state = with_room(state, 2 * TOKENS)
            nll = _value_nll(model, params, keys, candidates.swapaxes(0, 1), state)
            parts.append(np.asarray(nll, np.float64).T.reshape(group, versions, -1))
        scores.append(_score(length, np.concatenate(parts)[:samples]))
    bar.close()
    return scores


@jax.jit
def _prefill(
    model: LanguageModel, params: Params, tokens: Array, state: State, segment_ids: Array
) -> State:
    return model.apply(params, tokens, state, segment_ids).state


@jax.jit
def _value_nll(
    model: LanguageModel, params: Params, keys: Array, candidates: Array, state: State
) -> Array:
    """-log p of each candidate [C, B, 4] after the key [B, 4]: [C, B]."""
    ones = jnp.ones_like(keys)
    state = model.apply(params, keys[:, :-1], state, ones[:, 1:]).state

    def one(candidate: Array) -> Array:
        inputs = jnp.concatenate([keys[:, -1:], candidate[:, :-1]], axis=1)
        logits = model.apply(params, inputs, state, ones).logits
        return jnp.sum(token_nll(logits, candidate), axis=1)

    return jax.lax.map(one, candidates)


def draw_needle(
    rng: np.random.Generator,
    filler: NDArray[np.int32],
    ids: NDArray[np.int32],
    length: int,
    begin_id: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """One text without the needle (row 0) and with it at each depth.

    Returns:
      Texts [rows, length], the key in each row [rows, 4], and in each row the candidates
      [rows, 101, 4], of which the first is the value. All candidates are different.
    """
    start = rng.integers(0, len(filler) - length + 1)
    text = filler[start : start + length - 1]
    key = rng.choice(ids, TOKENS)
    candidates = np.zeros((0, TOKENS), np.int32)
    while len(candidates) <= DISTRACTORS:
        drawn = np.concatenate([candidates, rng.choice(ids, (1 + DISTRACTORS, TOKENS))])
        _, first = np.unique(drawn, axis=0, return_index=True)
        candidates = drawn[np.sort(first)]
    candidates = candidates[: 1 + DISTRACTORS]
    needle = np.concatenate([key, candidates[0]])
    rest = text[: len(text) - len(needle)]
    rows = [text]
    for depth in DEPTHS:
        cut = round(depth / 100 * len(rest))
        rows.append(np.concatenate([rest[:cut], needle, rest[cut:]]))
    texts = np.stack([np.concatenate([[begin_id], row]) for row in rows]).astype(np.int32)
    keys = np.broadcast_to(key, (len(rows), TOKENS)).astype(np.int32)
    shape = (len(rows), *candidates.shape)
    return texts, keys, np.broadcast_to(candidates, shape).astype(np.int32)


def _score(length: int, nll: NDArray[np.float64]) -> NeedleScore:
    """`nll`: [samples, 1 + depths, candidates], the version without the needle first."""
    samples = len(nll)
    chosen = first_rank(nll, np.zeros(nll.shape[:-1], np.int64)).mean(axis=0)
    value = nll[..., 0] / TOKENS
    saved = value[:, :1] - value[:, 1:]
    errors: list[float | None] = [None] * len(DEPTHS)
    if samples > 1:
        errors = (saved.std(axis=0, ddof=1) / samples**0.5).tolist()
    return NeedleScore(
        length=length,
        samples=samples,
        depths=DEPTHS,
        accuracy=tuple(chosen[1:].tolist()),
        profit=tuple(saved.mean(axis=0).tolist()),
        error=tuple(errors),
        accuracy_without=float(chosen[0]),
    )
