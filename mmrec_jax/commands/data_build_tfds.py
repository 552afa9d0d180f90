"""`mmrec data build-tfds`: any source as a TensorFlow data set."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    from mmrec_jax.data.formats.refusals import Refusals


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec data`."""
    parser = commands.add_parser(
        "build-tfds", help="turn any source into a TensorFlow data set of ArrayRecord files"
    )
    parser.add_argument(
        "--source",
        required=True,
        help="comma-separated paths, globs, folders, tfds:NAME/CONFIG:split, hf:NAME:split",
    )
    parser.add_argument("--name", required=True, help="of the data set")
    parser.add_argument("--config", default="", help="of the data set's config, if it has one")
    parser.add_argument("--out", required=True, help="the directory of data sets")
    parser.add_argument("--documents", choices=("block", "line", "file"), default="block")
    parser.add_argument("--field", default="text", help="field of a record that holds the text")
    parser.add_argument(
        "--validation-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="this share of the texts, by their hash, becomes the split validation",
    )
    parser.add_argument("--shard-mb", type=int, default=256, help="MiB of text in a file, about")
    parser.add_argument("--max-record-mb", type=int, default=64, help="a longer text is refused")
    parser.add_argument("--on-error", choices=("stop", "skip"), default="stop")
    parser.add_argument("--tfds-dir", default="", help="of tfds: sources")
    parser.set_defaults(run=build)


def build(options: argparse.Namespace) -> None:
    """Writes the data set; memory is bounded by the longest record."""
    require_positive(options, "shard_mb", "max_record_mb")
    if not 0 <= options.validation_fraction < 1:
        raise UserError(
            f"--validation-fraction is {options.validation_fraction}; it must be in [0, 1)"
        )
    from mmrec_jax.data.formats.paths import require_outside
    from mmrec_jax.data.formats.refusals import Refusals
    from mmrec_jax.data.formats.tfds_writer import write_tfds

    out = Path(options.out).expanduser()
    require_outside(out, "--out", options.source, "--source")
    refusals = Refusals(options.on_error)
    folder, counts = write_tfds(
        _texts(options, refusals),
        out,
        options.name,
        options.config,
        options.shard_mb * 2**20,
    )
    refusals.show()
    listed = ", ".join(f"{count:,} of {split}" for split, count in counts.items())
    print(f"{folder}: {listed}")


def _texts(options: argparse.Namespace, refusals: "Refusals") -> Iterator[tuple[str, str]]:
    from mmrec_jax.data.formats.source import find_sources
    from mmrec_jax.data.split import hash_share

    sources = find_sources(
        options.source,
        "--source",
        options.documents,
        options.field,
        options.max_record_mb * 2**20,
        tfds_dir=options.tfds_dir,
    )
    empty = True
    for source in sources:
        for file in source.files:
            for chunk in file.chunks():
                for document in chunk.documents(refusals):
                    held = hash_share(document.text) < options.validation_fraction
                    yield "validation" if held else "train", document.text
                    empty = False
    if empty:
        raise UserError(f"--source: there is no text in {options.source}")
