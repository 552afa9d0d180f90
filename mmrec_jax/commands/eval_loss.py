"""`mmrec eval loss`: how well a model predicts some text, or solves the task it was trained on."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import (
    add_model_options,
    add_text_options,
    read_lengths,
    require_positive,
)
from mmrec_jax.commands.task_lengths import scored_at
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.conversation import Conversation
    from mmrec_jax.data.document import Document


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec eval`."""
    parser = commands.add_parser(
        "loss", help="loss and bits per byte on any text, or accuracy on the run's task"
    )
    add_model_options(parser)
    add_text_options(parser, "the text")
    parser.add_argument("--lengths", help="of a task's sequences, such as 40,4096")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the scores.

    Raises:
      UserError: an option, a file or the run's folder is wrong.
    """
    require_positive(options, "batch_size")
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.data.instructions.conversation_sources import read_conversations
    from mmrec_jax.data.sources import read_documents

    workdir = options.workdir
    config, _ = Workdir(Path(workdir)).read_config()
    if "task" in config.data.evaluators:
        if options.data is not None:
            raise UserError(
                f'{workdir} was trained on the task "{config.data.source}": give --lengths, or '
                "nothing, and no --data"
            )
        if options.lengths is not None:
            config = scored_at(config, read_lengths(options.lengths))
        _print_task_scores(options, config)
    else:
        if options.data is None or options.lengths is not None:
            raise UserError(f"{workdir} was trained on text: give --data=FILE and no --lengths")
        if config.data.prompt_style == "chat":
            conversations = read_conversations(options.data, config.data.record_fields)
            _print_response_scores(options, config, conversations)
        else:
            texts = read_documents(options.data, options.documents, options.field)
            _print_text_scores(options, config.data.seq_len, texts)


def _print_task_scores(options: argparse.Namespace, config: "Config") -> None:
    import jax

    from mmrec_jax.checkpoints.trained_model import load
    from mmrec_jax.data.tasks.task_dataset import TaskDataset
    from mmrec_jax.evaluation.evaluate_task import evaluate_task
    from mmrec_jax.train.mesh import one_device
    from mmrec_jax.train.step import make_eval_step

    config.data.check(config)
    data = TaskDataset(config.data)
    model, params, _ = load(options.workdir, options.step)
    result = evaluate_task(
        jax.jit(make_eval_step(model)),
        params,
        model.config,
        data,
        one_device(),
        batch_size=options.batch_size,
    )
    print(data.describe())
    print("\n".join(f"{name} {value:,.4f}" for name, value in result.items()))


def _print_text_scores(options: argparse.Namespace, seq_len: int, texts: "list[Document]") -> None:
    import jax

    from mmrec_jax.checkpoints.trained_model import load
    from mmrec_jax.data.token_store import TokenStore
    from mmrec_jax.evaluation.evaluate import evaluate
    from mmrec_jax.train.mesh import one_device
    from mmrec_jax.train.step import make_eval_step

    model, params, tokenizer = load(options.workdir, options.step)
    store = TokenStore.from_documents(texts, tokenizer)
    eval_step = jax.jit(make_eval_step(model))
    rows = options.batch_size
    print(f"{store.num_documents:,} documents, {store.num_bytes:,} bytes")
    for carry, label in ((True, "state carried along each document"), (False, "rows apart")):
        result = evaluate(
            eval_step,
            params,
            model.config,
            store,
            one_device(),
            # One lane a document at most: the others would be padding.
            batch_size=min(rows, store.num_documents) if carry else rows,
            seq_len=seq_len,
            carry=carry,
        )
        print(f"{label}: {_numbers(result)}")


def _print_response_scores(
    options: argparse.Namespace, config: "Config", conversations: "list[Conversation]"
) -> None:
    import jax

    from mmrec_jax.checkpoints.trained_model import load
    from mmrec_jax.data.instructions.example_store import encode_examples
    from mmrec_jax.evaluation.evaluate import evaluate
    from mmrec_jax.inference.chat import chat_encoder
    from mmrec_jax.train.mesh import one_device
    from mmrec_jax.train.step import make_eval_step

    model, params, tokenizer = load(options.workdir, options.step)
    seq_len, overlong = config.data.seq_len, config.data.overlong
    store, fit = encode_examples(conversations, chat_encoder(tokenizer), seq_len, overlong)
    result = evaluate(
        jax.jit(make_eval_step(model)),
        params,
        model.config,
        store,
        one_device(),
        batch_size=options.batch_size,
        seq_len=seq_len,
        carry=False,
    )
    print(
        f"{store.num_documents:,} examples, {store.num_bytes:,} bytes of responses; longer than a "
        f"row of {seq_len:,}: {fit}"
    )
    print(f"responses: {_numbers(result)}")


def _numbers(result: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.4f}" for name, value in result.items())
