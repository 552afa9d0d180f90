"""`mmrec eval length`: loss by position in the context, or a task at growing lengths."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import (
    add_model_options,
    add_out_option,
    add_text_options,
    make_out,
    require_positive,
)
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.config import Config
    from mmrec_jax.evaluation.loss_by_position import Estimate, PositionBin


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec eval`."""
    parser = commands.add_parser(
        "length",
        help="loss by position in the context, or a task's accuracy by length",
        description="Text: the loss by position, with the state carried along each document,\n"
        "beside that of the same tokens with the state reset at the trained length. A task:\n"
        "accuracy and loss at doubling lengths. Writes length.png and length.json.",
    )
    add_model_options(parser)
    add_text_options(parser, "the text; the run's own validation split when left out")
    add_out_option(parser, "eval")
    parser.add_argument("--max-length", type=int, default=16384, help="tokens of context")
    parser.add_argument(
        "--max-tokens", type=int, default=131072, help="of text: the longest documents up to that"
    )
    parser.add_argument("--sequences", type=int, default=64, help="of a task: at each length")
    parser.add_argument("--batch-size", type=int, default=8, help="rows side by side")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the table and writes the picture and the numbers."""
    require_positive(options, "max_length", "max_tokens", "sequences", "batch_size")
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.commands.run_data import on_task

    workdir = Workdir(Path(options.workdir))
    config, _ = workdir.read_config()
    if on_task(config, options):
        _task_by_length(options, config, workdir)
    else:
        _loss_by_position(options, config, workdir)


def _loss_by_position(options: argparse.Namespace, config: "Config", workdir: "Workdir") -> None:
    from tqdm import tqdm

    from mmrec_jax.checkpoints.load import load
    from mmrec_jax.commands.run_data import run_text
    from mmrec_jax.data.token_store import TokenStore
    from mmrec_jax.evaluation.loss_by_position import longest_windows, loss_by_position
    from mmrec_jax.evaluation.record import draw_loss_by_position, write_record

    name, documents = run_text(options, config)
    model, params, tokenizer = load(options.workdir, options.step)
    store = TokenStore.from_documents(documents, tokenizer)
    out = make_out(options, workdir.evaluations)
    trained = config.data.seq_len
    windows = longest_windows(store, options.max_length, options.max_tokens)
    tokens, longest = int(windows.lengths.sum()), int(windows.lengths.max())
    print(f"{name}: {len(windows):,} documents or parts of them, {tokens:,} tokens")
    if longest <= trained:
        print(
            f"too short: the longest has {longest:,} tokens and the model was trained on "
            f"{trained:,}, so nothing here can profit from more context; give longer text with "
            "--data=FILE --documents=file"
        )
    elif longest < options.max_length:
        print(f"the longest has {longest:,} tokens: nothing is said of more, up to --max-length")
    with tqdm(total=tokens, unit=" tokens", unit_scale=True) as bar:
        result = loss_by_position(
            model,
            params,
            store,
            windows,
            reset_every=trained,
            rows=min(options.batch_size, len(windows)),
            on_read=bar.update,
        )
    print(
        f"{'context':>15} {'tokens':>9} {'texts':>5} {'carried':>16} {'reset':>16} {'profit':>17}"
    )
    for each in result.bins:
        print(_row(each, f"{each.first:,}-{each.last:,}"))
    if result.beyond is not None:
        print(_row(result.beyond, f"beyond {trained:,}"))
    print(
        f"carried: loss in nats/token, state from the text's beginning; reset: the same tokens, "
        f"state reset every {trained:,}, the trained length; ±: standard error over texts"
    )
    title = f"{workdir.root.name}: {Path(name).name}"
    draw_loss_by_position(result, title, out / "length.png")
    content = {"step": options.step, "text": name, **dataclasses.asdict(result)}
    write_record(out / "length.json", content)
    print(f"{out}: length.png, length.json")


def _row(each: "PositionBin", label: str) -> str:
    return (
        f"{label:>15} {each.tokens:>9,} {each.documents:>5,} {_estimate(each.carried, ''):>16} "
        f"{_estimate(each.reset, ''):>16} {_estimate(each.profit, '+'):>17}"
    )


def _estimate(estimate: "Estimate", sign: str) -> str:
    error = "" if estimate.error is None else f" ±{estimate.error:.4f}"
    return f"{estimate.mean:{sign}.4f}{error}"


def _task_by_length(options: argparse.Namespace, config: "Config", workdir: "Workdir") -> None:
    trained = config.data.max_length
    if options.max_length < trained:
        raise UserError(
            f"--max-length is {options.max_length}; the run was trained on up to {trained} tokens"
        )
    from tqdm import tqdm

    from mmrec_jax.checkpoints.load import load
    from mmrec_jax.commands.run_data import on_one_device, scored_at
    from mmrec_jax.data.tasks.task_dataset import TaskDataset
    from mmrec_jax.evaluation.record import draw_task_by_length, write_record
    from mmrec_jax.evaluation.registry import EVALUATORS

    lengths = [trained]
    while 2 * lengths[-1] <= options.max_length:
        lengths.append(2 * lengths[-1])
    model, params, _ = load(options.workdir, options.step)
    out = make_out(options, workdir.evaluations)
    scores: dict[int, dict[str, float]] = {}
    with tqdm(total=sum(lengths), unit=" tokens per row", unit_scale=True) as bar:
        for length in lengths:
            data = TaskDataset(scored_at(config, (length,), options.sequences).data)
            request = on_one_device(model, params, data, config, rows=options.batch_size)
            result = EVALUATORS["task"](request).metrics
            scores[length] = {
                name: result[f"{name}@{length}"] for name in ("accuracy", "token_accuracy", "loss")
            }
            bar.update(length)
    print(f"{'tokens':>9} {'final answers':>14} {'all answers':>12} {'nats/answer':>12}")
    for length, score in scores.items():
        beyond = "  beyond the trained length" if length > trained else ""
        print(
            f"{length:>9,} {score['accuracy']:>14.2%} {score['token_accuracy']:>12.2%} "
            f"{score['loss']:>12.4f}{beyond}"
        )
    title = f"{workdir.root.name}: {config.data.source}, {options.sequences} sequences per length"
    draw_task_by_length(scores, trained, title, out / "length.png")
    content = {
        "step": options.step,
        "task": config.data.source,
        "trained_length": trained,
        "sequences": options.sequences,
        "scores": [{"length": length, **score} for length, score in scores.items()],
    }
    write_record(out / "length.json", content)
    print(f"{out}: length.png, length.json")
