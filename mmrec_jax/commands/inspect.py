"""`mmrec inspect`: what the memories of a trained model do with text."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import add_model_options, add_text_options, require_positive
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.config import Config
    from mmrec_jax.data.batch import Batch
    from mmrec_jax.data.tokenizer import Tokenizer


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser(
        "inspect", help="half-lives, gates, norms and ranks of the memories: a table and a picture"
    )
    add_model_options(parser)
    add_text_options(parser, "the text; the run's own validation split when left out")
    parser.add_argument("--tokens", type=int, default=4096, help="of each document, at most")
    parser.add_argument("--rows", type=int, default=4, help="documents, the longest ones")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the table; writes the picture and the numbers under `inspect/` in the run's folder.

    Raises:
      UserError: an option, a file or the run's folder is wrong.
    """
    require_positive(options, "tokens", "rows")
    import dataclasses

    from mmrec_jax.checkpoints.trained_model import choose_step, load
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.data.tokenizer_cache import load_tokenizer
    from mmrec_jax.evaluation.record import write_record
    from mmrec_jax.models.mmrec.dashboard.observer import Observer
    from mmrec_jax.models.mmrec.dashboard.picture import draw
    from mmrec_jax.models.mmrec.dashboard.summary import summarise
    from mmrec_jax.models.mmrec.dashboard.table import format_table
    from mmrec_jax.models.mmrec.model import MMRecLM
    from mmrec_jax.train.prepare import make_directory

    place = Workdir(Path(options.workdir))
    config, _ = place.read_config()
    step = choose_step(options.workdir, options.step)
    batch, source = _read_rows(options, config, place, load_tokenizer(place.tokenizer))
    picture, numbers = (place.inspect / f"step_{step}.{kind}" for kind in ("png", "json"))
    make_directory(place.inspect)
    model, params, _ = load(options.workdir, step, training_parts=True)
    # Solved by Newton's method on every device, so that its iterations can be seen on each.
    model = MMRecLM(dataclasses.replace(model.config, scan="parallel"))
    totals = Observer(model)(params, batch["inputs"], batch["segment_ids"])
    rows, length = batch["inputs"].shape
    summary = {"step": step, "source": source, "rows": rows, "length": length}
    summary |= summarise(totals)
    title = f"{place.root.name or place.root.resolve().name}, step {step:,}, {source}"
    try:
        draw(summary, title, picture)
        write_record(numbers, summary)
    except OSError as error:
        raise UserError(f"{error.filename or place.inspect}: {error.strerror or error}") from None
    print(f"step {step:,}, {source}: {totals.tokens:,} tokens in {rows} rows of up to {length:,}")
    print(format_table(summary))
    print(f"{picture}\n{numbers}")


def _read_rows(
    options: argparse.Namespace, config: "Config", place: "Workdir", tokenizer: "Tokenizer"
) -> "tuple[Batch, str]":
    """The rows, and what they are."""
    from mmrec_jax.commands.run_text import run_text
    from mmrec_jax.data.longest import longest_documents
    from mmrec_jax.data.token_store import TokenStore

    source = config.data.source
    if "task" in config.data.evaluators:
        if options.data is not None:
            raise UserError(f'{options.workdir} was trained on the task "{source}": give no --data')
        data = config.data.open(config, place.tokenizer_cache, tokenizer)
        return data.longest(options.rows, options.tokens), source
    name, documents = run_text(options, config)
    store = TokenStore.from_documents(documents, tokenizer)
    return longest_documents(store, options.rows, options.tokens), name
