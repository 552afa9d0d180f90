"""`mmrec eval`: what a trained model is worth; `mmrec eval loss`: how well it predicts."""

import argparse
from pathlib import Path
from typing import Any

from mmrec_jax.commands import eval_length, eval_recall
from mmrec_jax.commands.options import (
    add_model_options,
    add_text_options,
    read_lengths,
    require_positive,
)
from mmrec_jax.errors import UserError


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
    parser.set_defaults(run=loss)
    for module in (eval_length, eval_recall):
        module.add_parser(subcommands)


def loss(options: argparse.Namespace) -> None:
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
    from mmrec_jax.data.instructions.conversation_sources import read_conversations
    from mmrec_jax.data.instructions.example_store import encode_examples
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
