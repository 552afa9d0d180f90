"""`mmrec data`: `inspect` and `report`, which look at training data; what makes it is beside."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from mmrec_jax.commands import data_build_tfds, data_prepare
from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    data = commands.add_parser("data", help="prepare training data, change its form, look at it")
    subcommands = data.add_subparsers(required=True, metavar="command")
    inspect = subcommands.add_parser("inspect", help="print decoded rows with their segments")
    inspect.add_argument("--config", required=True, help="a file such as configs/tiny.py")
    inspect.add_argument("--rows", type=int, default=2)
    inspect.set_defaults(run=inspect_data)
    data_prepare.add_parser(subcommands)
    report = subcommands.add_parser(
        "report",
        help="what each filter left out of prepared text: tables and pictures",
        description="Prints the counts of each source and filter, and writes report.md, "
        "report.json and pictures of the lengths, the tokens of each source and what became of the "
        "documents.",
    )
    report.add_argument("folder", metavar="DIR", help="what mmrec data prepare wrote")
    report.add_argument(
        "--out", metavar="DIR", help="where to write; the same folder when left out"
    )
    report.set_defaults(run=_report)
    data_build_tfds.add_parser(subcommands)


def inspect_data(options: argparse.Namespace) -> None:
    """Prints the first rows that a run with this config would train on."""
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


def _report(options: argparse.Namespace) -> None:
    """Prints the Markdown and writes the files."""
    from mmrec_jax.atomic_file import replace_file
    from mmrec_jax.data.prepared.manifest import read_manifest
    from mmrec_jax.data.prepared.report import report_json, report_markdown, report_record
    from mmrec_jax.data.prepared.report_picture import draw_report

    folder = Path(options.folder).expanduser()
    record = report_record(read_manifest(folder, "DIR"))
    out = Path(options.out).expanduser() if options.out else folder
    try:
        text = report_markdown(folder, record)
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "report.json", report_json(record))
        replace_file(out / "report.md", text.encode())
        pictures = draw_report(record, out)
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from None
    print(text, end="")
    print(f"\n{out}: report.json, report.md, {', '.join(path.name for path in pictures)}")
