"""Does token 30,000 profit from the first 29,000? The loss by position in the document.

Each document is read twice: with the state carried from its first token to its last, and with the
state reset every `reset_every` tokens, as if nothing earlier had been read. Both losses are of the
same tokens, so their difference is what the longer context is worth.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrec_jax.data.chunks import Chunks, Window
from mmrec_jax.data.packing import ROW_DTYPE, batch_of, segments_row
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation.perplexity import compiled_eval_step
from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over tokens in nats and its standard error, None where one document is all there is.

    Tokens of one document are not independent: documents are what the error is taken over.
    """

    mean: float
    error: float | None


@dataclasses.dataclass(frozen=True)
class PositionBin:
    """The tokens whose prediction has between `first` and `last` tokens of context before it."""

    first: int  # of context, from 1
    last: int  # of context, included
    tokens: int  # predicted
    documents: int  # that reach so far
    carried: Estimate  # loss with the state carried on from the document's first token
    reset: Estimate  # loss of the same tokens with the state reset every `reset_every` tokens
    profit: Estimate  # `reset` - `carried`, token by token


@dataclasses.dataclass(frozen=True)
class PositionLoss:
    """Loss by position."""

    reset_every: int  # tokens between two resets of the comparison
    longest: int  # the most tokens of context that any prediction had
    # From the first token on, in log-spaced steps with a border at `reset_every`
    bins: tuple[PositionBin, ...]
    # All bins beyond `reset_every` as one; None if no document is so long
    beyond: PositionBin | None


def loss_by_position(
    model: LanguageModel,
    params: Params,
    windows: Sequence[Window],
    *,
    reset_every: int,
    rows: int,
    chunk_length: int = 256,
) -> PositionLoss:
    """Reads every window twice, `rows` at a time, in memory that a model's state alone grows by.

    Each of `windows` (`longest_windows`) is read as a document of its own, `chunk_length` tokens
    per call, so that one shape serves all; `params` are on one device.
    """
    model, predict = with_state(model), compiled_eval_step()
    lengths = np.array([window.length for window in windows])
    edges = _edges(reset_every, int(lengths.max()))
    # Sums by window and bin: tokens; carried, reset and difference in nats.
    sums = np.zeros((4, len(windows), len(edges) - 1))
    bar = tqdm(total=int(lengths.sum()), unit=" tokens", unit_scale=True)
    for first in range(0, len(windows), rows):
        group = range(first, min(first + rows, len(windows)))
        state = colocate(params, model.initial_state(2 * rows))  # carried above, reset below
        for begin in range(0, int(lengths[list(group)].max()), chunk_length):
            positions = np.arange(begin, begin + chunk_length)
            chunk = np.zeros((rows, chunk_length), ROW_DTYPE)
            for row, index in enumerate(group):
                if begin < lengths[index]:
                    part = windows[index].cut(begin, begin + chunk_length)
                    chunk[row] = segments_row([part], chunk_length)
            batch = batch_of([chunk])
            real = batch["segment_ids"] > 0
            # A new segment number is a reset: the model sees nothing before it.
            resets = np.where(real, 1 + positions // reset_every, 0).astype(np.int32)
            both = {name: np.concatenate([x, x]) for name, x in batch.items()}
            both["segment_ids"][rows:] = resets
            predicted, state = predict(model, params, both, with_room(state, chunk_length))
            a, b = np.split(np.asarray(predicted["nll"], np.float64), 2)
            bins = np.searchsorted(edges, positions, side="right") - 1
            for row, index in enumerate(group):
                own, counted = bins[real[row]], real[row]
                for total, values in zip(sums, (np.ones_like(a), a, b, b - a), strict=True):
                    np.add.at(total[index], own, values[row, counted])
            bar.update(int(real.sum()))
    bar.close()
    return _summary(sums, edges, reset_every)


def longest_windows(store: TokenStore, max_length: int, max_tokens: int) -> list[Window]:
    """The longest documents, cut into windows of `max_length` predicted tokens.

    A window that does not begin its document is read as if it did. Whole windows are taken, the
    longest first, as long as they hold at most `max_tokens` together; always at least one.
    """
    windows = Chunks([store], max_length)
    order = np.argsort(-windows.lengths.astype(np.int64), kind="stable")
    count = max(1, np.count_nonzero(np.cumsum(windows.lengths[order]) <= max_tokens))
    return [windows[index] for index in order[:count].tolist()]


def _edges(reset_every: int, longest: int) -> NDArray[np.int64]:
    """0, ..., reset_every / 2, reset_every, 2 reset_every, ..., longest."""
    halvings = int(np.ceil(np.log2(reset_every))) + 1
    doublings = max(0, int(np.ceil(np.log2(longest / reset_every)))) + 1
    powers = 2.0 ** np.arange(-halvings, doublings + 1)
    edges = np.unique(np.ceil(reset_every * powers).astype(np.int64))
    return np.concatenate([[0], edges[edges < longest], [longest]])


def _summary(sums: NDArray[np.float64], edges: NDArray[np.int64], reset_every: int) -> PositionLoss:
    bins = tuple(
        _bin(sums[:, :, i], int(edges[i]), int(edges[i + 1])) for i in range(len(edges) - 1)
    )
    longest, beyond = int(edges[-1]), None
    if longest > reset_every:
        far = sums[:, :, edges[:-1] >= reset_every].sum(axis=-1)
        beyond = _bin(far, reset_every, longest)
    return PositionLoss(reset_every=reset_every, longest=longest, bins=bins, beyond=beyond)


def _bin(sums: NDArray[np.float64], begin: int, end: int) -> PositionBin:
    """`sums`: [4, windows], tokens and the three losses."""
    sums = sums[:, sums[0] > 0]
    carried, reset, profit = (_estimate(sums[0], nll) for nll in sums[1:])
    return PositionBin(
        first=begin + 1,
        last=end,
        tokens=int(sums[0].sum()),
        documents=sums.shape[1],
        carried=carried,
        reset=reset,
        profit=profit,
    )


def _estimate(tokens: NDArray[np.float64], nll: NDArray[np.float64]) -> Estimate:
    """Mean per token of sums by document, and the error of this ratio over documents.

    The variance is the usual one of a ratio of sums over clusters (Cochran, Sampling Techniques,
    3rd edition, equation 6.13): n / (n - 1) times the squared residuals of the documents' sums.
    """
    mean = float(nll.sum() / tokens.sum())
    count = len(tokens)
    if count < 2:
        return Estimate(mean, None)
    residuals = nll - mean * tokens
    variance = count / (count - 1) * np.sum(residuals**2)
    return Estimate(mean, float(np.sqrt(variance) / tokens.sum()))
