"""`mmrec adapters show`: what a run of adapters trains."""

import argparse
from typing import Any

from mmrec_jax.commands.options import add_model_options


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    adapters = commands.add_parser("adapters", help="look at the adapters of a fine-tuned run")
    show = adapters.add_subparsers(required=True, metavar="command").add_parser(
        "show", help="what is adapted, with which rank, and how much of the model is trained"
    )
    add_model_options(show)
    show.set_defaults(run=show_adapters)


def show_adapters(options: argparse.Namespace) -> None:
    """Prints a line for each parameter that has adapters, and the sums.

    Raises:
      UserError: there is no such run, or it has no adapters.
    """
    import math

    import jax

    from mmrec_jax import dora
    from mmrec_jax.checkpoints.load import read_adapters

    trained = read_adapters(options.workdir, options.step)
    shapes = {name: kind[1] for name, kind in trained.base["identity"]["parameters"].items()}
    kind = trained.config.adapters.kind
    lines = [("parameter", "shape", "adapter", "numbers", "bytes")]
    for name, node in dora.nodes(trained.adapters).items():
        leaves = jax.tree.leaves(node)
        if isinstance(node, dora.Rows):
            spans = (f"{first}-{last}" for first, last in node.ranges)
            what = f"rows {', '.join(spans)}"
        else:
            what = f"{kind}, rank {node.a.shape[-1]}, scale {node.scale:g}"
        shape = " x ".join(map(str, shapes[name]))
        size, held = sum(x.size for x in leaves), sum(x.nbytes for x in leaves)
        lines.append((name, shape, what, f"{size:,}", f"{held:,}"))
    print(f"{trained.where}, on step {trained.base['step']:,} of {trained.base['run']}")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, shape, what, size, held in lines:
        left = f"{name:{widths[0]}}  {shape:{widths[1]}}  {what:{widths[2]}}"
        print(f"{left}  {size:>{widths[3]}}  {held:>{widths[4]}}")
    leaves = jax.tree.leaves(trained.adapters)
    size, whole = sum(x.size for x in leaves), sum(map(math.prod, shapes.values()))
    print(
        f"trained: {size:,} numbers, {sum(x.nbytes for x in leaves):,} bytes; the model has "
        f"{whole:,} ({size / whole:.2%})"
    )
