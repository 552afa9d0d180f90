"""The `mmrec` command: what can be done with data, with a trained model and on this machine."""

import argparse
import os
from collections.abc import Sequence

from mmrec_jax.config_file import parse_with_overrides
from mmrec_jax.errors import UserError, exit_on_user_error


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one subcommand; `mmrec --help` lists them."""
    options = parse_with_overrides(_parser(), arguments)
    # A pipe closed early (`mmrec generate ... | head`) is no error.
    try:
        with exit_on_user_error():
            options.run(options)
    except BrokenPipeError:
        os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmrec", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    generate = commands.add_parser("generate", help="continue a prompt with a trained model")
    _add_model(generate)
    generate.add_argument("--prompt", default="", help="text to continue; empty: a new document")
    generate.add_argument("--max-tokens", type=int, default=200)
    generate.add_argument("--samples", type=int, default=1, help="continuations to draw")
    generate.add_argument("--temperature", type=float, default=0.8, help="0: most likely token")
    generate.add_argument("--top-k", type=int, default=0, help="0: all tokens")
    generate.add_argument("--top-p", type=float, default=0.95)
    generate.add_argument("--repetition-penalty", type=float, default=1.0)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument(
        "--ignore-end", action="store_true", help="go on where the model ends the document"
    )
    generate.set_defaults(run=_generate)

    evaluate = commands.add_parser(
        "evaluate", help="loss and bits per byte on any text, or accuracy on the run's task"
    )
    _add_model(evaluate)
    evaluate.add_argument("--data", help="the text: comma-separated paths or globs")
    evaluate.add_argument("--documents", choices=("block", "line", "file"), default="block")
    evaluate.add_argument("--field", default="text", help="field of a JSON line")
    evaluate.add_argument("--lengths", help="of a task's sequences, such as 40,4096")
    evaluate.add_argument("--batch-size", type=int, default=8)
    evaluate.set_defaults(run=_evaluate)

    data = commands.add_parser("data", help="look at training data")
    inspect = data.add_subparsers(required=True, metavar="command").add_parser(
        "inspect", help="print decoded rows with their segments"
    )
    inspect.add_argument("--config", required=True, help="a file such as configs/tiny.py")
    inspect.add_argument("--rows", type=int, default=2)
    inspect.set_defaults(run=_inspect)

    bench = commands.add_parser("bench", help="measure speeds on this machine")
    scan = bench.add_subparsers(required=True, metavar="command").add_parser(
        "scan", help="the backends of linear_scan: time, compile time, memory"
    )
    scan.add_argument("--batch", type=int, default=4, help="B")
    scan.add_argument("--width", type=int, default=128, help="E")
    lengths = [256, 1024, 4096, 16384]
    scan.add_argument("--lengths", type=int, nargs="+", default=lengths, metavar="T")
    scan.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    scan.add_argument("--runs", type=int, default=5, help="timed runs of each program")
    scan.add_argument(
        "--write-table",
        metavar="FILE",
        help="keep the times there; auto goes by mmrec_jax/nn/scan_table.csv",
    )
    scan.set_defaults(run=_bench_scan)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="the run's folder")
    parser.add_argument("--step", default="best", help='a step, "best" or "last"')


def _positive(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(options, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} is {getattr(options, name)}; it must be at least 1")


def _step(options: argparse.Namespace) -> int | str:
    return int(options.step) if options.step.isdecimal() else options.step


def _generate(options: argparse.Namespace) -> None:
    _positive(options, "max_tokens", "samples")
    from mmrec_jax.sampling import Sampling

    sampling = Sampling(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        repetition_penalty=options.repetition_penalty,
    )
    from mmrec_jax.commands import print_generated

    print_generated(
        options.workdir,
        _step(options),
        options.prompt,
        sampling,
        max_tokens=options.max_tokens,
        samples=options.samples,
        seed=options.seed,
        stop_at_end=not options.ignore_end,
    )


def _evaluate(options: argparse.Namespace) -> None:
    _positive(options, "batch_size")
    from mmrec_jax.commands import print_evaluation

    print_evaluation(
        options.workdir,
        _step(options),
        options.data,
        documents=options.documents,
        field=options.field,
        lengths=options.lengths,
        batch_size=options.batch_size,
    )


def _inspect(options: argparse.Namespace) -> None:
    _positive(options, "rows")
    from mmrec_jax.commands import print_rows

    print_rows(options.config, options.overrides, rows=options.rows)


def _bench_scan(options: argparse.Namespace) -> None:
    _positive(options, "batch", "width", "runs")
    for length in options.lengths:
        if length < 1:
            raise UserError(f"--lengths has {length}; each must be at least 1")
    from mmrec_jax.bench.scan import print_scan_times

    print_scan_times(
        options.batch,
        options.width,
        options.lengths,
        dtype=options.dtype,
        runs=options.runs,
        table=options.write_table,
    )
