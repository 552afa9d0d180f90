"""`mmrec inspect`: what the memories of a trained model do with text."""

import argparse
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
    from mmrec_jax.config import Config
    from mmrec_jax.data.batch import Batch
    from mmrec_jax.tokenizers.tokenizer import Tokenizer


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser(
        "inspect", help="half-lives, gates, norms and ranks of the memories: a table and a picture"
    )
    add_model_options(parser)
    add_text_options(parser, "the text; the run's own validation split when left out")
    add_out_option(parser, "inspect")
    parser.add_argument("--tokens", type=int, default=4096, help="of each document, at most")
    parser.add_argument("--rows", type=int, default=4, help="documents, the longest ones")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the table; writes the picture and the numbers."""
    require_positive(options, "tokens", "rows")
    from mmrec_jax.checkpoints.load import choose_step, load
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.evaluation.record import write_record
    from mmrec_jax.tokenizers.cache import load_tokenizer

    workdir = Workdir(Path(options.workdir))
    config, _ = workdir.read_config()
    step = choose_step(options.workdir, options.step)
    batch, source = _read_rows(options, config, load_tokenizer(workdir.tokenizer))
    out = make_out(options, workdir.inspect)
    model, params, _ = load(options.workdir, step)
    observe = getattr(model, "dashboard", None)
    if observe is None:
        raise UserError(f"{options.workdir}: models of this family have nothing to inspect")
    found = observe(params, batch, thorough=True)
    rows, length = batch["inputs"].shape
    record = {"step": step, "source": source, "rows": rows, "length": length, **found.record}
    title = f"{workdir.root.name or workdir.root.resolve().name}, step {step:,}, {source}"
    picture, numbers = (out / f"step_{step}.{kind}" for kind in ("png", "json"))
    try:
        found.draw(title, picture)
        write_record(numbers, record)
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from None
    tokens = int((batch["segment_ids"] > 0).sum())
    print(f"step {step:,}, {source}: {tokens:,} tokens in {rows} rows of up to {length:,}")
    print(found.table)
    print(f"{picture}\n{numbers}")


def _read_rows(
    options: argparse.Namespace, config: "Config", tokenizer: "Tokenizer"
) -> "tuple[Batch, str]":
    """The rows, and what they are."""
    from mmrec_jax.commands.run_data import on_task, run_text
    from mmrec_jax.data.corpus import StoredChunks
    from mmrec_jax.data.longest import longest_documents
    from mmrec_jax.data.tasks.task_dataset import TaskDataset
    from mmrec_jax.data.token_store import TokenStore

    if on_task(config, options):
        return TaskDataset(config.data).longest(options.rows, options.tokens), config.data.source
    name, documents = run_text(options, config)
    store = TokenStore.from_documents(documents, tokenizer)
    return longest_documents(StoredChunks([store]), options.rows, options.tokens), name
