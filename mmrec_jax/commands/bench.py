"""`mmrec bench scan`: the backends of the linear scan, measured on this machine."""

import argparse
from typing import Any

from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
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
        help="keep the times there; auto goes by mmrec_jax/models/mmrec/scan_table.csv",
    )
    scan.set_defaults(run=bench_scan)


def bench_scan(options: argparse.Namespace) -> None:
    """Prints the table and, where asked, writes it.

    Raises:
      UserError: an option is wrong.
    """
    require_positive(options, "batch", "width", "runs")
    for length in options.lengths:
        if length < 1:
            raise UserError(f"--lengths has {length}; each must be at least 1")
    from mmrec_jax.models.mmrec.scan_bench import print_scan_times

    print_scan_times(
        options.batch,
        options.width,
        options.lengths,
        dtype=options.dtype,
        runs=options.runs,
        table=options.write_table,
    )
