"""What a longer context is worth: the loss by position in a text, a task's accuracy by length.

Does token 30,000 profit from the first 29,000? Each document is read twice: with the state carried
from its first token to its last, and with the state reset every so many tokens, as if nothing
earlier had been read. Both losses are of the same tokens, so their difference is what the longer
context is worth.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.curves import Curve, Panel
from mmrec_jax.data.chunks import Chunks, Window
from mmrec_jax.data.packing import ROW_DTYPE, batch_of, segments_row
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.perplexity import long_rows_nll, task
from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest
from mmrec_jax.models.api import LanguageModel, Params

_BORDERS = (256, 1024, 4096, 16384, 32768, 65536, 131072)  # of bins, in tokens of context


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over tokens in nats and its standard error, None where one document is all there is.

    Tokens of one document are not independent: documents are what the error is taken over.
    """

    mean: float
    error: float | None

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}}" + ("" if self.error is None else f" ±{self.error:.4f}")


@dataclasses.dataclass(frozen=True)
class PositionBin:
    """The tokens whose prediction has between `first` and `last` tokens of context before it."""

    first: int  # of context, from 1
    last: int  # of context, included
    tokens: int  # predicted
    documents: int  # that reach so far
    carried: Estimate  # loss with the state carried on from the document's first token
    reset: Estimate  # loss of the same tokens with the state reset every `reset_every` tokens
    far_gain: Estimate  # `reset` - `carried`, token by token


@dataclasses.dataclass(frozen=True)
class PositionLoss:
    """What `loss_by_position` finds."""

    reset_every: int  # tokens between two resets of the comparison
    longest: int  # the most tokens of context that any prediction had
    # From the first token on, with a border at `reset_every`
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
    **options: int,
) -> PositionLoss:
    """Reads every window twice, `rows` at a time, each as a document of its own.

    `windows` are those of `longest_windows`; see `long_rows_nll`.
    """
    lengths = [window.length for window in windows]
    edges = _edges(reset_every, max(lengths))
    # Sums by window and bin: tokens; carried, reset and difference in nats.
    sums = np.zeros((4, len(windows), len(edges) - 1))
    for first in range(0, len(windows), rows):
        width = max(lengths[first : first + rows])
        group = [segments_row([window], width) for window in windows[first : first + rows]]
        # One shape for the last group, too.
        batch = batch_of([*group, *[np.zeros(width, ROW_DTYPE)] * (rows - len(group))])
        real, positions = batch["segment_ids"] > 0, np.arange(width)
        both = {name: np.concatenate([x, x]) for name, x in batch.items()}
        # A new segment number is a reset: the model sees nothing before it.
        resets = np.where(real, 1 + positions // reset_every, 0)
        both["segment_ids"][rows:] = resets
        carried, reset = np.split(long_rows_nll(model, params, both, **options), 2)
        for row in range(len(group)):
            own, at = real[row], positions[real[row]]
            values = (np.ones(len(at)), carried[row, own], reset[row, own])
            for total, each in zip(sums, (*values, values[2] - values[1]), strict=True):
                total[first + row] = np.histogram(at, edges, weights=each)[0]
    bins = [_bin(sums[..., i], *ends) for i, ends in enumerate(itertools.pairwise(edges))]
    far, longest = np.array(edges[:-1]) >= reset_every, edges[-1]
    beyond = _bin(sums[..., far].sum(axis=-1), reset_every, longest) if far.any() else None
    return PositionLoss(reset_every, longest, tuple(bins), beyond)


def longest_windows(store: TokenStore, max_length: int, max_tokens: int) -> list[Window]:
    """The longest documents, cut into windows of `max_length` predicted tokens.

    A window that does not begin its document is read as if it did. Whole windows are taken, the
    longest first, as long as they hold at most `max_tokens` together; always at least one.
    """
    windows = Chunks([store], max_length)
    order = np.argsort(-windows.lengths.astype(np.int64), kind="stable")
    count = max(1, np.count_nonzero(np.cumsum(windows.lengths[order]) <= max_tokens))
    return [windows[index] for index in order[:count].tolist()]


def _edges(reset_every: int, longest: int) -> list[int]:
    """Borders inside, that of the reset among them, and the end."""
    inside = {0, reset_every, *_BORDERS}
    return [*sorted(edge for edge in inside if edge < longest), longest]


def _bin(sums: NDArray[np.float64], begin: int, end: int) -> PositionBin:
    """`sums`: [4, windows], tokens and the three losses."""
    sums = sums[:, sums[0] > 0]
    losses = (_ratio(sums[0], nll) for nll in sums[1:])
    return PositionBin(begin + 1, end, int(sums[0].sum()), sums.shape[1], *losses)


def _ratio(tokens: NDArray[np.float64], nll: NDArray[np.float64]) -> Estimate:
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


Scores = dict[int, dict[str, float]]  # of a task, by length: accuracy, token_accuracy, loss


def length(
    request: EvaluationRequest,
    *,
    max_length: int = 131072,
    max_tokens: int = 131072,
    reset_every: int | None = None,
) -> Evaluation:
    """The loss by position, with the state carried along each document and with it reset.

    The longest documents are read, cut at `max_length` tokens, `max_tokens` in all; the reset comes
    every `reset_every` tokens, None: every trained length.

    Returns:
      Of each bin up to n tokens of context `loss@n` and `far_gain@n`, and of what lies beyond the
      reset `far_gain` and `far_gain_error`, its standard error over documents.
    """
    trained = request.config.data.seq_len
    windows = longest_windows(request.text, max_length, max_tokens)
    lengths = [window.length for window in windows]
    tokens, longest = sum(lengths), max(lengths)
    lines = [f"{request.source}: {len(windows):,} documents or parts of them, {tokens:,} tokens"]
    if longest <= trained:
        lines.append(
            f"too short: the longest has {longest:,} tokens and the model was trained on "
            f"{trained:,}, so nothing here can profit from more context; give longer text with "
            "--data=FILE --documents=file"
        )
    elif longest < max_length:
        lines.append(
            f"the longest has {longest:,} tokens: nothing is said of more, up to --max-length"
        )
    result = loss_by_position(
        request.model,
        request.params,
        windows,
        reset_every=reset_every or trained,
        rows=min(request.config.train.batch_size, len(windows)),
    )
    lines.append(
        f"{'context':>15} {'tokens':>9} {'texts':>5} {'carried':>16} {'reset':>16} {'far gain':>17}"
    )
    metrics: dict[str, float] = {}
    for each in result.bins:
        lines.append(_row(each, f"{each.first:,}-{each.last:,}"))
        metrics[f"loss@{each.last}"] = each.carried.mean
        metrics[f"far_gain@{each.last}"] = each.far_gain.mean
    if result.beyond is not None:
        lines.append(_row(result.beyond, f"beyond {result.reset_every:,}"))
        metrics["far_gain"] = result.beyond.far_gain.mean
        if result.beyond.far_gain.error is not None:
            metrics["far_gain_error"] = result.beyond.far_gain.error
    lines.append(
        f"carried: loss in nats/token, state from the text's beginning; reset: the same tokens, "
        f"state reset every {result.reset_every:,}; far gain: reset - carried; ±: standard error "
        "over texts"
    )
    return Evaluation(
        metrics=metrics,
        text="\n".join(lines),
        record={"text": request.source, **dataclasses.asdict(result)},
        panels=loss_panels(result),
        title=Path(request.source).name,
    )


def _row(each: PositionBin, label: str) -> str:
    carried, reset, far_gain = f"{each.carried:.4f}", f"{each.reset:.4f}", f"{each.far_gain:+.4f}"
    return (
        f"{label:>15} {each.tokens:>9,} {each.documents:>5,} {carried:>16} {reset:>16} "
        f"{far_gain:>17}"
    )


def task_length(
    request: EvaluationRequest, *, max_length: int = 16384, sequences: int = 64
) -> Evaluation:
    """Scores `sequences` of a task at doubling lengths from the longest it was trained on.

    Raises:
      UserError: `max_length` is below that.
    """
    data = request.task.config
    trained = data.max_length
    if max_length < trained:
        raise UserError(
            f"--max-length is {max_length}; the run was trained on up to {trained} tokens"
        )
    lengths = [trained]
    while 2 * lengths[-1] <= max_length:
        lengths.append(2 * lengths[-1])
    longer = dataclasses.replace(data, eval_lengths=tuple(lengths), eval_sequences=sequences)
    found = task(dataclasses.replace(request, data=TaskDataset(longer))).metrics
    names = "accuracy", "token_accuracy", "loss"
    scores: Scores = {n: {name: found[f"{name}@{n}"] for name in names} for n in lengths}
    lines = [f"{'tokens':>9} {'final answers':>14} {'all answers':>12} {'nats/answer':>12}"]
    for n, score in scores.items():
        beyond = "  beyond the trained length" if n > trained else ""
        lines.append(
            f"{n:>9,} {score['accuracy']:>14.2%} {score['token_accuracy']:>12.2%} "
            f"{score['loss']:>12.4f}{beyond}"
        )
    return Evaluation(
        text="\n".join(lines),
        record={
            "task": data.source,
            "trained_length": trained,
            "sequences": sequences,
            "scores": [{"length": n, **score} for n, score in scores.items()],
        },
        panels=_task_panels(scores, trained),
        title=f"{data.source}, {sequences} sequences per length",
    )


def loss_panels(result: PositionLoss) -> list[Panel]:
    """Both losses, and what the longer context is worth."""
    centres = [(each.first * each.last) ** 0.5 for each in result.bins]
    x, trained = "tokens of context", result.reset_every

    def curve(name: str) -> Curve:
        found: list[Estimate] = [getattr(each, name) for each in result.bins]
        errors = [each.error or 0.0 for each in found]  # none of a single document
        return centres, [each.mean for each in found], errors

    losses = {
        "state carried from the beginning": curve("carried"),
        f"state reset every {trained:,} tokens": curve("reset"),
    }
    far_gain = {"difference, token by token": curve("far_gain")}
    return [
        Panel(x, "loss (nats/token)", losses, trained=trained),
        Panel(x, "far gain (nats/token)", far_gain, trained=trained),
    ]


def _task_panels(scores: Scores, trained: int) -> list[Panel]:
    def curve(name: str) -> Curve:
        return list(scores), [score[name] for score in scores.values()], None

    accuracies = {"final answers": curve("accuracy"), "all answers": curve("token_accuracy")}
    x = "tokens in a sequence"
    return [
        Panel(x, "accuracy", accuracies, share=True, trained=trained),
        Panel(x, "loss (nats per answer)", {"loss": curve("loss")}, trained=trained),
    ]
