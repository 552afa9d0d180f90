"""`mmrec eval`: what a trained model is worth: its loss, by length, and what it recalls."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import (
    add_model_options,
    add_out_option,
    add_text_options,
    make_out,
    read_lengths,
    require_positive,
    require_seed,
)
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.config import Config
    from mmrec_jax.evaluation.loss_by_position import Estimate, PositionBin
    from mmrec_jax.evaluation.needle import NeedleScore
    from mmrec_jax.evaluation.recall import RecallScore
    from mmrec_jax.models.api import LanguageModel, Params

_PAIRS = (1, 2, 4, 8, 16, 32, 64)


def add_parser(commands: Any) -> None:
    """Adds the group to the subcommands of `mmrec`."""
    group = commands.add_parser("eval", help="evaluate a trained model")
    subcommands = group.add_subparsers(required=True, metavar="command")
    parser = subcommands.add_parser(
        "loss",
        help="loss and bits per byte on any text, or accuracy on the run's task",
        description="Text is read with the state carried along each document, and in rows apart.\n"
        "A model that was trained on conversations is asked for the responses in files of JSON;\n"
        "plain text it reads as text.",
    )
    add_model_options(parser)
    add_text_options(parser, "the text")
    parser.add_argument("--lengths", help="of a task's sequences, such as 40,4096")
    parser.add_argument("--batch-size", type=int, default=8, help="rows side by side")
    parser.set_defaults(run=_eval_loss)
    _add_length(subcommands)
    _add_recall(subcommands)


def _eval_loss(options: argparse.Namespace) -> None:
    """Prints the scores."""
    require_positive(options, "batch_size")
    from mmrec_jax.checkpoints.load import load
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.commands.run_data import (
        as_validation,
        holds_conversations,
        on_one_device,
        on_task,
        run_text,
        scored_at,
    )
    from mmrec_jax.data.conversations.dataset import encode_examples
    from mmrec_jax.data.conversations.files import read_conversations
    from mmrec_jax.data.tasks.task_dataset import TaskDataset
    from mmrec_jax.data.token_store import TokenStore
    from mmrec_jax.evaluation.registry import EVALUATORS, format_metrics
    from mmrec_jax.inference.chat import chat_encoder

    config, _ = Workdir(Path(options.workdir)).read_config()

    def score(name: str, data: Any, *, rows: int = options.batch_size, carry: bool = False) -> str:
        request = on_one_device(model, params, data, config, rows=rows, carry=carry)
        return format_metrics(EVALUATORS[name](request).metrics)

    if on_task(config, options):
        if options.lengths is not None:
            config = scored_at(config, read_lengths(options.lengths))
        config.data.check(config)
        task = TaskDataset(config.data)
        model, params, _ = load(options.workdir, options.step)
        scores = score("task", task).replace(", ", "\n")
        print(f"{task.describe()}\n{scores}")
        return
    if options.data is None or options.lengths is not None:
        raise UserError(f"{options.workdir} was trained on text: give --data=FILE and no --lengths")
    if holds_conversations(config, options):
        conversations = read_conversations(options.data, config.data.record_fields)
        model, params, tokenizer = load(options.workdir, options.step)
        seq_len, overlong = config.data.seq_len, config.data.overlong
        store, fit = encode_examples(conversations, chat_encoder(tokenizer), seq_len, overlong)
        print(
            f"{store.num_documents:,} examples, {store.num_bytes:,} bytes of responses; longer "
            f"than a row of {seq_len:,}: {fit}"
        )
        print(f"responses: {score('loss', as_validation(config, store, tokenizer))}")
        return
    documents = run_text(options, config)[1]
    model, params, tokenizer = load(options.workdir, options.step)
    store = TokenStore.from_documents(documents, tokenizer)
    data = as_validation(config, store, tokenizer)
    print(f"{store.num_documents:,} documents, {store.num_bytes:,} bytes")
    # One document per row at most where it is carried: other rows would be padding.
    rows = min(options.batch_size, store.num_documents)
    print(f"state carried along each document: {score('loss', data, rows=rows, carry=True)}")
    print(f"rows apart: {score('loss', data)}")


def _add_length(commands: Any) -> None:
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
    parser.set_defaults(run=_eval_length)


def _eval_length(options: argparse.Namespace) -> None:
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


def _add_recall(commands: Any) -> None:
    parser = commands.add_parser(
        "recall",
        help="associative recall (MQAR) and a needle in a haystack",
        description="MQAR: pairs of random tokens, then every key again. Needle: a random key and\n"
        "value somewhere in a text, then the key again. Any checkpoint can be asked; without\n"
        "training for it, MQAR is near chance. Writes recall.png and recall.json.",
    )
    add_model_options(parser)
    add_text_options(parser, "the needle's text; the run's validation split when left out")
    add_out_option(parser, "eval")
    parser.add_argument("--lengths", default="256,1024,4096,16384", help="of the needle's text")
    parser.add_argument("--samples", type=int, default=4, help="needle: texts of each length")
    parser.add_argument("--sequences", type=int, default=256, help="MQAR: of each number of pairs")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.set_defaults(run=_eval_recall)


def _eval_recall(options: argparse.Namespace) -> None:
    """Prints the tables and writes the picture and the numbers."""
    require_positive(options, "samples", "sequences")
    require_seed(options)
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.evaluation.needle import SHORTEST

    lengths = read_lengths(options.lengths)
    if min(lengths) < SHORTEST:
        raise UserError(f"--lengths has {min(lengths)}; each must be at least {SHORTEST}")
    workdir = Workdir(Path(options.workdir))
    config, _ = workdir.read_config()

    import jax
    import numpy as np

    from mmrec_jax.checkpoints.load import load
    from mmrec_jax.commands.run_data import on_task, run_text
    from mmrec_jax.evaluation.recall import ordinary_ids, rare_ids
    from mmrec_jax.evaluation.record import draw_recall, write_record
    from mmrec_jax.tree import num_bytes

    task = on_task(config, options)
    name, documents = ("", []) if task else run_text(options, config)
    model, params, tokenizer = load(options.workdir, options.step)
    ids = ordinary_ids(tokenizer)
    if len(ids) < 4:
        raise UserError(
            f"{workdir.root}: the vocabulary has {len(ids)} ordinary tokens; two pairs take 4"
        )
    parts = [tokenizer.encode(document.text) for document in documents]
    filler = np.concatenate([np.zeros(0, np.int32), *parts])  # all documents end to end
    rare = rare_ids(ids, filler)
    out = make_out(options, workdir.evaluations)
    size = num_bytes(jax.eval_shape(lambda: model.initial_state(1)))
    state = f"state: {size:,} bytes, whatever the length" if size else "no state: the text is kept"
    print(state)
    # In the examples of a task nothing stands before the first symbol.
    recall = _recall(options, model, params, ids, None if task else tokenizer.bos_id)
    needle = []
    if task:
        print(f'needle: left out, the task "{config.data.source}" has no text to hide it in')
    else:
        needle = _needle(options, model, params, name, filler, rare, lengths, tokenizer.bos_id)
    title = f"{workdir.root.name}: {state}"
    draw_recall(recall, needle, title, out / "recall.png")
    content = {
        "step": options.step,
        "seed": options.seed,
        "state_bytes": size,
        "mqar": [dataclasses.asdict(score) for score in recall],
        "needle": [dataclasses.asdict(score) for score in needle],
    }
    write_record(out / "recall.json", content)
    print(f"{out}: recall.png, recall.json")


def _recall(
    options: argparse.Namespace,
    model: "LanguageModel",
    params: "Params",
    ids: "NDArray[np.int32]",
    begin_id: int | None,
) -> "list[RecallScore]":
    from tqdm import tqdm

    from mmrec_jax.evaluation.recall import most_pairs, score_recall

    pairs = [count for count in _PAIRS if count <= most_pairs(ids)]
    if len(pairs) < len(_PAIRS):
        print(f"MQAR: {len(ids)} ordinary tokens are enough for {pairs[-1]} pairs and no more")
    tokens = sum(options.sequences * (3 * count + (begin_id is not None)) for count in pairs)
    with tqdm(total=tokens, unit=" tokens", unit_scale=True, desc="MQAR") as bar:
        scores = score_recall(
            model,
            params,
            ids,
            pairs,
            begin_id=begin_id,
            sequences=options.sequences,
            seed=options.seed,
            on_read=bar.update,
        )
    print(f"{'MQAR pairs':>12} {'accuracy':>16} {'chance':>8} {'right value':>12} {'others':>8}")
    for score in scores:
        error = "" if score.error is None else f" ±{score.error:.2%}"
        others = "" if score.other_nll is None else f"{score.other_nll:.3f}"
        print(
            f"{score.pairs:>12} {f'{score.accuracy:.2%}{error}':>16} {score.chance:>8.2%} "
            f"{score.right_nll:>12.3f} {others:>8}"
        )
    print("accuracy: among the sequence's own values; right value, others: mean nats")
    return scores


def _needle(
    options: argparse.Namespace,
    model: "LanguageModel",
    params: "Params",
    name: str,
    filler: "NDArray[np.int32]",
    rare: "NDArray[np.int32]",
    lengths: tuple[int, ...],
    begin_id: int,
) -> "list[NeedleScore]":
    from tqdm import tqdm

    from mmrec_jax.evaluation.needle import DEPTHS, FEWEST_IDS, score_needle

    if len(rare) < FEWEST_IDS:
        print(f"needle: left out, {name} has only {len(rare)} rare tokens to make it of")
        return []
    fitting = [length for length in lengths if length <= len(filler)]
    if len(fitting) < len(lengths):
        left_out = ", ".join(f"{length:,}" for length in lengths if length > len(filler))
        print(
            f"needle: {name} has {len(filler):,} tokens, too few for texts of {left_out}; give "
            "longer text with --data=FILE"
        )
    if not fitting:
        return []
    tokens = sum(fitting) * options.samples * (1 + len(DEPTHS))
    with tqdm(total=tokens, unit=" tokens", unit_scale=True, desc="needle") as bar:
        scores = score_needle(
            model,
            params,
            filler,
            rare,
            fitting,
            begin_id=begin_id,
            samples=options.samples,
            seed=options.seed,
            on_read=bar.update,
        )
    for title, rows in (
        ("value is first of 101", [[f"{x:.0%}" for x in s.accuracy] for s in scores]),
        ("profit, nats/token", [[f"{x:+.2f}" for x in s.profit] for s in scores]),
    ):
        print(f"needle: {title}, by depth (%)")
        print(f"{'tokens':>12}" + "".join(f"{depth:>7}" for depth in DEPTHS))
        for score, cells in zip(scores, rows, strict=True):
            print(f"{score.length:>12,}" + "".join(f"{cell:>7}" for cell in cells))
    chance = ", ".join(f"{score.accuracy_without:.0%}" for score in scores)
    print(f"without the needle the value is first in {chance} (chance 1.0%)")
    return scores
