"""`mmrec data`: what is done with training data before a run."""

import argparse
import dataclasses
import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mmrec_jax.commands.options import require_positive
from mmrec_jax.data.prepare.settings import PrepareSettings, flag
from mmrec_jax.errors import UserError
from mmrec_jax.settings import type_hints

_SHOWN = 200  # characters of a document

if TYPE_CHECKING:
    from mmrec_jax.data.prepare.manifest import Manifest


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    data = commands.add_parser("data", help="prepare training data, look at it")
    subcommands = data.add_subparsers(required=True, metavar="command")
    inspect = subcommands.add_parser(
        "inspect", help="print decoded rows with their segments, or the documents of files"
    )
    what = inspect.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="a file, or a name such as tiny: rows of a run's batch")
    what.add_argument("--data", metavar="PATTERN", help="files, whatever they are: documents")
    inspect.add_argument("--rows", type=int, default=2, help="so many rows or documents")
    inspect.add_argument("--documents", choices=("block", "line", "file"), default="block")
    inspect.add_argument("--field", default="text", help="field of a record (JSON, Parquet, ...)")
    inspect.set_defaults(run=_inspect)
    _add_prepare(subcommands)
    report = subcommands.add_parser(
        "report",
        help="what was left out of prepared text and why",
        description="Prints a table of the documents by what became of them, of characters, tokens "
        "and languages, and examples of what was left out; DIR/manifest.json has the same numbers.",
    )
    report.add_argument("folder", metavar="DIR", help="what mmrec data prepare wrote")
    report.set_defaults(run=_report)


def _inspect(options: argparse.Namespace) -> None:
    """Prints the first rows that a run with this config would train on, or documents."""
    require_positive(options, "rows")
    if options.data is not None:
        _inspect_documents(options)
        return
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.config_file import read_config
    from mmrec_jax.data.inspect import fill, inspect_rows
    from mmrec_jax.tokenizers.cache import load_tokenizer
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


def _inspect_documents(options: argparse.Namespace) -> None:
    """Prints where each of the first documents stands, its size, and how it begins."""
    from mmrec_jax.data.files.reading import Reading, read_documents, require_text

    reading = Reading(options.documents, options.field)
    documents = read_documents(options.data, "--data", reading)
    shown = list(itertools.islice(documents, options.rows))
    for document in require_text(shown, options.data, "--data"):
        size = len(document.text.encode())
        print(f"{document.name}: {size:,} bytes: {document.text[:_SHOWN]!r}")


def _report(options: argparse.Namespace) -> None:
    """Prints the tables, in Markdown."""
    from mmrec_jax.data.prepare.manifest import read_manifest
    from mmrec_jax.data.prepare.report import report_markdown

    folder = Path(options.folder).expanduser()
    print(report_markdown(folder, read_manifest(folder, "DIR")), end="")


def _add_prepare(commands: Any) -> None:
    parser = commands.add_parser(
        "prepare",
        help="clean, filter and tokenise text once, for runs with data.source=prepared",
        description="Writes arrays of tokens and a manifest. The bytes depend on the text, the "
        "tokenizer and the options alone, not on --workers, --executor or interruptions: killed at "
        "any moment, the same command continues, and tasks that are done are not done again.",
    )
    add = parser.add_argument
    add(
        "--source",
        required=True,
        metavar="PATTERN",
        help="comma-separated paths, globs, folders, tfds:NAME/CONFIG:split or hf:NAME:split",
    )
    add(
        "--tokenizer",
        required=True,
        metavar="PATH",
        help="tokenizer.json, sentencepiece .model, or the tokenizer folder of a run",
    )
    add("--out", required=True, metavar="DIR", help="the folder to write")
    add("--on-error", choices=("stop", "skip"), default="stop", help="skip: leave out, and count")
    hints = type_hints(PrepareSettings)
    for field in dataclasses.fields(PrepareSettings):
        options: dict[str, Any] = {"type": hints[field.name]}
        if field.type is bool:
            options = {"action": "store_false", "dest": field.name}
        elif choices := get_args(hints[field.name]):
            options = {"choices": choices}
        help_ = field.metadata["comment"]
        add(flag(field.name), default=field.default, help=help_, **options)
    add("--workers", type=int, help="tasks that run at once; one per core when left out")
    add(
        "--ram-mb",
        type=float,
        default=1500,
        help="MB that all processes together may take (what each has for itself): as many workers "
        "run as fit",
    )
    add("--executor", choices=("local", "ray", "slurm"), default="local", help="who runs the tasks")
    add("--slurm-partition", default="", metavar="NAME", help="of the jobs")
    add("--slurm-time", default="10:00:00", metavar="TIME", help="limit of each job")
    add("--fresh", action="store_true", help="begin anew where something is prepared")
    parser.set_defaults(run=_prepare)


def _prepare(options: argparse.Namespace) -> None:
    """Prepares the text; does nothing where it is prepared already."""
    from mmrec_jax.data.files.paths import require_outside
    from mmrec_jax.data.files.reading import find_sources
    from mmrec_jax.tokenizers.cache import load_tokenizer, read_tokenizer_file

    names = (field.name for field in dataclasses.fields(PrepareSettings))
    settings = PrepareSettings(**{name: getattr(options, name) for name in names})
    require_positive(options, "ram_mb", *(["workers"] if options.workers is not None else []))
    sources = find_sources(options.source, "--source")
    out = Path(options.out).expanduser()
    require_outside(out, "--out", options.source, "--source")
    path = Path(options.tokenizer).expanduser()
    tokenizer = load_tokenizer(path) if path.is_dir() else read_tokenizer_file(path, "--tokenizer")
    try:
        from mmrec_jax.data.prepare.executors import Resources
        from mmrec_jax.data.prepare.manifest import MANIFEST
        from mmrec_jax.data.prepare.preparation import prepare_text
    except ModuleNotFoundError as error:
        raise UserError(
            f"mmrec data prepare needs {error.name}: pip install 'mmrec_jax[prepare]'"
        ) from None
    resources = Resources(
        **({} if options.workers is None else {"workers": options.workers}),
        ram_mb=options.ram_mb,
        executor=options.executor,
        slurm={"partition": options.slurm_partition, "time": options.slurm_time},
    )
    there = (out / MANIFEST).exists() and not options.fresh
    manifest = prepare_text(
        out,
        sources,
        tokenizer,
        settings,
        resources,
        stop=options.on_error == "stop",
        fresh=options.fresh,
    )
    if manifest is None:
        print(f"handed over to Slurm; when its jobs have ended: mmrec data report {out}")
        return
    if there:
        print(f"{options.out}: this text is prepared already; --fresh does it again")
    print(_describe(manifest))
    print(
        f"train with --config.data.source=prepared --config.data.train={options.out}; "
        f"look at it with: mmrec data report {options.out}"
    )


def _describe(manifest: "Manifest") -> str:
    """What was read and what was kept, one line each."""
    from mmrec_jax.data.prepare.report import left_out

    reasons = [f"{count:,} {name}" for name, count in left_out(manifest).items()]
    kept = [
        f"{split}: {entry['documents']:,} documents, {entry['tokens']:,} tokens"
        for split, entry in manifest.splits.items()
    ]
    return (
        f"{manifest.counts['read']:,} documents read; left out: {', '.join(reasons) or 'none'}\n"
        + "; ".join(kept)
    )
