"""`mmrec turkish score`: metrics of Turkish text."""

import argparse
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    turkish = commands.add_parser("turkish", help="metrics of Turkish text")
    score = turkish.add_subparsers(required=True, metavar="command").add_parser(
        "score", help="compare texts with what they should have been"
    )
    score.add_argument("--predictions", required=True, help="a file, one text per line, UTF-8")
    score.add_argument("--references", required=True, help="a file with as many lines")
    score.add_argument("--json", action="store_true", help="print one JSON object")
    score.set_defaults(run=score_files)


def score_files(options: argparse.Namespace) -> None:
    """Prints each metric and the formula of the overall score."""
    predictions, references = _lines(options.predictions), _lines(options.references)
    if len(predictions) != len(references):
        raise UserError(
            f"{options.predictions} has {len(predictions)} lines and {options.references} has "
            f"{len(references)}; line n of one is compared with line n of the other"
        )
    if not any(map(str.strip, references)):
        raise UserError(f"{options.references}: this file has no text to compare with")
    import json

    from mmrec_jax.turkish.scores import FORMULA, turkish_scores

    try:
        scores = turkish_scores(predictions, references)
    except UserError as error:  # of a line, by its number
        raise UserError(f"{options.predictions}, {options.references}: {error}") from None
    if options.json:
        print(json.dumps(scores | {"lines": len(predictions), "formula": FORMULA}))
        return
    for name, value in scores.items():
        print(f"{name:24} {value:.4f}")
    print(f"{FORMULA}; {len(predictions):,} lines")


def _lines(name: str) -> list[str]:
    """The lines of a file; a model that writes nothing has blank ones."""
    from mmrec_jax.data.files.reading import Reading, read_file

    documents = list(read_file(Path(name), Reading("file")))
    text = documents[0].text if documents else Path(name).read_text("utf-8-sig")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
