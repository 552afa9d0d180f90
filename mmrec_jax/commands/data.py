"""`mmrec data`: what is done with training data before a run."""

import argparse
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError

_SHOWN = 200  # characters of a document

if TYPE_CHECKING:
    from mmrec_jax.tokenizers.tokenizer import Tokenizer


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    data = commands.add_parser("data", help="prepare training data, change its form, look at it")
    subcommands = data.add_subparsers(required=True, metavar="command")
    inspect = subcommands.add_parser(
        "inspect", help="print decoded rows with their segments, or the documents of files"
    )
    what = inspect.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="a file such as configs/tiny.py: rows of a run's batch")
    what.add_argument("--data", metavar="PATTERN", help="files, whatever they are: documents")
    inspect.add_argument("--rows", type=int, default=2, help="so many rows or documents")
    inspect.add_argument("--documents", choices=("block", "line", "file"), default="block")
    inspect.add_argument("--field", default="text", help="field of a record (JSON, Parquet, ...)")
    inspect.set_defaults(run=_inspect)
    _add_prepare(subcommands)
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
        print(f"{document.name}: {len(document.utf8):,} bytes: {document.text[:_SHOWN]!r}")


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


def _add_prepare(commands: Any) -> None:
    parser = commands.add_parser(
        "prepare",
        help="clean, filter and tokenise text once, for runs with data.source=prepared",
        description="Writes shards of tokens, their index and a manifest. The bytes depend on the "
        "text, the tokenizer and the options alone, not on --workers, --ram-mb or interruptions: "
        "killed at any moment, the same command continues.",
    )
    add = parser.add_argument
    add(
        "--source",
        required=True,
        metavar="PATTERN",
        help="comma-separated paths, globs, folders, tfds:NAME/CONFIG:split or hf:NAME:split; "
        "the report counts each for itself",
    )
    add(
        "--tokenizer",
        required=True,
        metavar="PATH",
        help="tokenizer.json, sentencepiece .model, or the tokenizer folder of a run",
    )
    add("--out", required=True, metavar="DIR", help="the folder to write")
    add("--ram-mb", type=float, default=1500, help="MB that all processes together may take")
    add("--workers", type=int, help="processes that tokenise; one per core when left out; 0: none")
    add("--documents", choices=("block", "line", "file"), default="block", help="of a text file")
    add("--field", default="text", help="field of a record (JSON, Parquet, ...)")
    add("--tfds-dir", default="", help="of tfds:; $TFDS_DATA_DIR or ~/tensorflow_datasets")
    add("--max-record-mb", type=int, default=64, help="a longer document or record is refused")
    add("--on-error", choices=("stop", "skip"), default="stop", help="skip: leave out, and list")
    add(
        "--validation-fraction",
        type=float,
        default=0.005,
        help="of the documents is held out, by a hash of the text",
    )
    add("--shard-mb", type=float, default=256, help="size of a shard, about")
    add(
        "--dedup",
        choices=("none", "exact", "minhash"),
        default="none",
        help="leave out copies (exact), and texts that share most of their words too (minhash)",
    )
    add("--language", choices=("tr",), default="", help="keep documents in this language alone")
    add("--min-chars", type=int, default=0, help="leave out shorter documents")
    add("--max-chars", type=int, default=0, help="leave out longer documents; 0: none")
    add("--fresh", action="store_true", help="begin anew where something is prepared")
    parser.set_defaults(run=_prepare)


def _prepare(options: argparse.Namespace) -> None:
    """Prepares the text; does nothing where it is prepared already."""
    from mmrec_jax.data.files.paths import require_outside
    from mmrec_jax.data.formats.source import find_sources
    from mmrec_jax.data.prepared.preparation import Resources, prepare_text
    from mmrec_jax.data.prepared.settings import PrepareSettings, flag

    settings = PrepareSettings(
        **{
            name: getattr(options, name)
            for name in PrepareSettings.__dataclass_fields__
            if name in vars(options)
        }
    )
    for name, lowest in (("workers", 0), ("ram_mb", 1)):
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise UserError(f"{flag(name)} is {value}; it must be at least {lowest}")
    workers = options.workers
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    sources = find_sources(
        options.source,
        "--source",
        settings.documents,
        settings.field,
        settings.max_record_mb << 20,
        tfds_dir=options.tfds_dir,
    )
    out = Path(options.out).expanduser()
    require_outside(out, "--out", options.source, "--source")
    with _Bar() as bar:
        outcome = prepare_text(
            out,
            sources,
            _read_tokenizer(Path(options.tokenizer).expanduser()),
            settings,
            Resources(workers, options.ram_mb),
            on_error=options.on_error,
            fresh=options.fresh,
            progress=bar.show,
        )
    if outcome.done_before:
        print(f"{options.out}: this text is prepared already; --fresh does it again")
    else:
        if outcome.workers < workers:
            print(f"no more than {outcome.workers} workers fit into --ram-mb {options.ram_mb:,.0f}")
        print(bar.summary(outcome.workers, outcome.peak_bytes))
    print(_describe(outcome.manifest.tallies, outcome.manifest.shards))
    if records := outcome.manifest.skipped["records"]:
        files = ", ".join(outcome.manifest.skipped["files"])
        print(f"skipped {records:,} records or files that could not be read; they are in {files}")
    print(
        f"train with --config.data.source=prepared --config.data.train={options.out}; "
        f"look at it with: mmrec data report {options.out}"
    )


def _read_tokenizer(path: Path) -> "Tokenizer":
    from mmrec_jax.tokenizers.cache import load_tokenizer, read_tokenizer_file

    return load_tokenizer(path) if path.is_dir() else read_tokenizer_file(path, "--tokenizer")


def _describe(tallies: list[dict[str, Any]], shards: dict[str, list[Any]]) -> str:
    """What was read and what was kept, one line each."""
    from mmrec_jax.data.prepared.tally import KEPT, REASONS, total_counts

    counts = total_counts(tallies)
    left_out = [f"{counts[name]:,} {name}" for name in REASONS if counts[name]]
    kept = [
        f"{split}: {counts[split]:,} documents, {counts[f'{split}_tokens']:,} tokens in "
        f"{len(shards[split])} shards"
        for split in KEPT
    ]
    return (
        f"{counts['read']:,} documents read; left out: {', '.join(left_out) or 'none'}\n"
        + "; ".join(kept)
    )


class _Bar:
    """The progress, with the time that is left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._begun = time.monotonic()
        self._first = self._done = self._tokens = 0

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int, tokens: int) -> None:
        """Shows how many bytes of the sources are done."""
        import tqdm

        if self._bar is None:
            self._first = done
            self._bar = tqdm.tqdm(
                desc="preparing",
                total=total,
                initial=done,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
            )
        self._done, self._tokens = done, tokens
        self._bar.update(done - self._bar.n)

    def summary(self, workers: int, peak_bytes: int) -> str:
        """How fast it went, and what it took."""
        seconds = time.monotonic() - self._begun
        read = (self._done - self._first) / 1e6
        memory = f"; at most {peak_bytes / 1e6:,.0f} MB of memory" if peak_bytes else ""
        return (
            f"{read:,.1f} MB in {seconds:,.1f} s with {workers} workers: "
            f"{read / seconds:.2f} MB/s, {self._tokens / seconds:,.0f} tokens/s{memory}"
        )
