"""`mmrec data report`: what became of the documents of a preparation."""

import argparse
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec data`."""
    parser = commands.add_parser(
        "report",
        help="what each filter left out of prepared text: tables and pictures",
        description="Prints the counts of each source and filter, and writes report.md, "
        "report.json and pictures of the lengths, the tokens of each source and what became of the "
        "documents.",
    )
    parser.add_argument("folder", metavar="DIR", help="what mmrec data prepare wrote")
    parser.add_argument(
        "--out", metavar="DIR", help="where to write; the same folder when left out"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the Markdown and writes the files.

    Raises:
      UserError: the folder is not a complete preparation, or the files cannot be written.
    """
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
