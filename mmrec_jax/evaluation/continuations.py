"""Log-likelihoods of continuations: what several texts begin with is read once.

A recurrent model reads the continuations of one context from one state, a transformer from one
cache. Contexts that begin alike, as the examples before each question do, share that beginning.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrec_jax.evaluation.perplexity import compiled_eval_step
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.typing import Array

_T = TypeVar("_T")
_Key = TypeVar("_Key")
_Ids = tuple[int, ...]
# Rows are read in steps of these numbers of tokens: a program is compiled for each.
_LENGTHS = (8, 32, 128)
# Contexts that agree on so many tokens share all that they have in common.
_ALIKE = 32


class Continuation(NamedTuple):
    """Ids [n], n >= 1, and those that follow them [m]."""

    context: _Ids
    tokens: _Ids


def score_continuations(
    model: LanguageModel, params: Params, asked: Sequence[Continuation], *, batch_size: int = 8
) -> list[tuple[float, bool]]:
    """Of each continuation: the log-probability of all its tokens, whether each is the likeliest.

    Log-probabilities are in nats; `batch_size` rows are read at once.
    """
    model = with_state(model)
    empty = colocate(params, model.initial_state(1))
    scores = [(0.0, True)] * len(asked)
    of: dict[_Ids, list[int]] = {}
    for index, each in enumerate(asked):
        of.setdefault(each.context, []).append(index)
    # The last token of a context is read with its continuations: what it predicts is theirs.
    heads = {context: context[:-1] for context in of}
    bar = tqdm(total=len(asked), unit=" continuations", leave=False)
    for prefix, keys in shared_beginnings(heads):
        start = prefill(model, params, np.array(prefix, np.int32)).state if prefix else empty
        keys.sort(key=lambda key: -len(heads[key]))
        for chunk in _batches(keys, batch_size):
            rests = [heads[key][len(prefix) :] for key in chunk]
            rows = [(row, index) for row, key in enumerate(chunk) for index in of[key]]
            rows.sort(key=lambda pair: -len(asked[pair[1]].tokens))
            room = max(map(len, rests)) + len(asked[rows[0][1]].tokens)
            states = with_room(_take(model, start, np.zeros(batch_size, int)), room)
            rests += [()] * (batch_size - len(chunk))
            for tokens, _, real in _steps(rests, rests):
                states = _read(model, params, tokens, states, real)
            for some in _batches(rows, batch_size):
                full = [some[index % len(some)] for index in range(batch_size)]  # one shape
                before = _take(model, states, np.array([row for row, _ in full]))
                found = _scores(model, params, before, [asked[index] for _, index in full])
                for (_, index), score in zip(full, found, strict=True):
                    scores[index] = score
                bar.update(len(some))
    bar.close()
    return scores


def _scores(
    model: LanguageModel, params: Params, state: State, asked: Sequence[Continuation]
) -> list[tuple[float, bool]]:
    """Of each row of a state, which has read its context but for the last token."""
    sums, greedy = np.zeros(len(asked)), np.ones(len(asked), bool)
    inputs = [(each.context[-1], *each.tokens[:-1]) for each in asked]
    step = compiled_eval_step()
    for tokens, targets, real in _steps(inputs, [each.tokens for each in asked]):
        batch = {"inputs": tokens, "targets": targets, "segment_ids": real}
        found, state = step(model, params, batch, state)
        sums -= np.sum(np.asarray(found["nll"], np.float64), axis=1, where=real > 0)
        greedy &= np.all(np.asarray(found["right"]), axis=1, where=real > 0)
    return list(zip(sums.tolist(), greedy.tolist(), strict=True))


def _steps(
    inputs: Sequence[_Ids], targets: Sequence[_Ids]
) -> Iterator[tuple[NDArray[np.int32], ...]]:
    """Rows of both, and 1 where there are tokens, [B, T] each."""
    begin, end = 0, max(map(len, targets))
    while begin < end:
        length = _length(end - begin)
        arrays = np.zeros((3, len(inputs), length), np.int32)
        for row, pair in enumerate(zip(inputs, targets, strict=True)):
            for array, ids in zip(arrays, pair, strict=False):
                part = ids[begin : begin + length]
                array[row, : len(part)], arrays[2, row, : len(part)] = part, 1
        yield tuple(arrays)
        begin += length


def _length(left: int) -> int:
    """Of the next step, if so many tokens are left: the longest that is not half padding."""
    fitting = [length for length in _LENGTHS if length < 2 * left]
    return fitting[-1] if fitting else _LENGTHS[0]


def shared_beginnings(texts: Mapping[_Key, _Ids]) -> Iterator[tuple[_Ids, list[_Key]]]:
    """Texts in groups, each with what all of it begins with: nothing, or 32 tokens and more."""
    groups: dict[_Ids, list[_Key]] = {}
    for key, ids in texts.items():
        groups.setdefault(ids[:_ALIKE] if len(ids) >= _ALIKE else (), []).append(key)
    apart = [key for begin, keys in groups.items() if not begin or len(keys) == 1 for key in keys]
    if apart:
        yield (), apart
    for begin, keys in groups.items():
        if begin and len(keys) > 1:
            columns = zip(*(texts[key] for key in keys), strict=False)
            common = itertools.takewhile(lambda column: len(set(column)) == 1, columns)
            yield tuple(column[0] for column in common), keys


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[begin : begin + size] for begin in range(0, len(items), size))


@jax.jit
def _read(
    model: LanguageModel, params: Params, tokens: Array, state: State, segment_ids: Array
) -> State:
    return model.apply(params, tokens, state, segment_ids).state


@jax.jit
def _take(model: LanguageModel, state: State, rows: Array) -> State:
    take = functools.partial(jax.numpy.take, indices=rows)
    return jax.tree.map(lambda x, axis: take(x, axis=axis), state, model.state_batch_axes)
