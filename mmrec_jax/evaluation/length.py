"""What a longer context is worth: the loss by position in a text, a task's accuracy by length."""

import dataclasses
from pathlib import Path

from mmrec_jax.curves import Curve, Panel
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.loss_by_position import (
    Estimate,
    PositionBin,
    PositionLoss,
    longest_windows,
    loss_by_position,
)
from mmrec_jax.evaluation.perplexity import task
from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest

Scores = dict[int, dict[str, float]]  # of a task, by length: accuracy, token_accuracy, loss


def length(
    request: EvaluationRequest, *, max_length: int = 16384, max_tokens: int = 131072
) -> Evaluation:
    """The loss by position, with the state carried along each document and with it reset.

    The longest documents are read, cut at `max_length` tokens, `max_tokens` in all.
    """
    store, trained = request.text, request.config.data.seq_len
    windows = longest_windows(store, max_length, max_tokens)
    tokens, longest = int(windows.lengths.sum()), int(windows.lengths.max())
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
        store,
        windows,
        reset_every=trained,
        rows=min(request.config.train.batch_size, len(windows)),
    )
    lines.append(
        f"{'context':>15} {'tokens':>9} {'texts':>5} {'carried':>16} {'reset':>16} {'profit':>17}"
    )
    lines += [_row(each, f"{each.first:,}-{each.last:,}") for each in result.bins]
    if result.beyond is not None:
        lines.append(_row(result.beyond, f"beyond {trained:,}"))
    lines.append(
        f"carried: loss in nats/token, state from the text's beginning; reset: the same tokens, "
        f"state reset every {trained:,}, the trained length; ±: standard error over texts"
    )
    return Evaluation(
        text="\n".join(lines),
        record={"text": request.source, **dataclasses.asdict(result)},
        panels=loss_panels(result),
        title=Path(request.source).name,
    )


def _row(each: PositionBin, label: str) -> str:
    return (
        f"{label:>15} {each.tokens:>9,} {each.documents:>5,} {_estimate(each.carried, ''):>16} "
        f"{_estimate(each.reset, ''):>16} {_estimate(each.profit, '+'):>17}"
    )


def _estimate(estimate: Estimate, sign: str) -> str:
    error = "" if estimate.error is None else f" ±{estimate.error:.4f}"
    return f"{estimate.mean:{sign}.4f}{error}"


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


def _curve(xs: list[float], estimates: list[Estimate]) -> Curve:
    errors = [each.error or 0.0 for each in estimates]  # none of a single document
    return xs, [each.mean for each in estimates], errors


def loss_panels(result: PositionLoss) -> list[Panel]:
    """Both losses, and what the longer context is worth."""
    centres = [(each.first * each.last) ** 0.5 for each in result.bins]
    x, trained = "tokens of context", result.reset_every
    losses = {
        "state carried from the beginning": _curve(centres, [x.carried for x in result.bins]),
        f"state reset every {trained:,} tokens": _curve(centres, [x.reset for x in result.bins]),
    }
    profit = {"difference, token by token": _curve(centres, [x.profit for x in result.bins])}
    return [
        Panel(x, "loss (nats/token)", losses, trained=trained),
        Panel(x, "profit (nats/token)", profit, trained=trained),
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
