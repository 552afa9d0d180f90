"""`mmrec data`: what is done with training data; `inspect` is here, the others in their modules."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from mmrec_jax.commands import data_build_tfds, data_prepare, data_report
from mmrec_jax.commands.options import require_positive


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    data = commands.add_parser("data", help="prepare training data, change its form, look at it")
    subcommands = data.add_subparsers(required=True, metavar="command")
    inspect = subcommands.add_parser("inspect", help="print decoded rows with their segments")
    inspect.add_argument("--config", required=True, help="a file such as configs/tiny.py")
    inspect.add_argument("--rows", type=int, default=2)
    inspect.set_defaults(run=inspect_data)
    for module in (data_prepare, data_report, data_build_tfds):
        module.add_parser(subcommands)


def inspect_data(options: argparse.Namespace) -> None:
    """Prints the first rows that a run with this config would train on.

    Raises:
      UserError: an option, the config or its data is wrong.
    """
    require_positive(options, "rows")
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.config_file import read_config
    from mmrec_jax.data.inspect import fill, inspect_rows
    from mmrec_jax.data.tokenizer_cache import load_tokenizer
    from mmrec_jax.train.setup import load_data

    config = read_config(options.config, options.overrides)
    with tempfile.TemporaryDirectory() as workdir:
        origin = Workdir(Path(config.init_from)).tokenizer
        tokenizer = load_tokenizer(origin) if config.init_from else None
        data = load_data(config, Workdir(Path(workdir)), tokenizer)
    batches = data.batches(config.train.batch_size)
    batch = next(batches)
    batches.close()
    print(inspect_rows(batch, data.tokenizer, options.rows))
    print(f"{data.describe()}; rows {fill(batch):.1%} full")
