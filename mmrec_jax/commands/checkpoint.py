"""`mmrec adapters`, `merge` and `export`: what a run trained, and copies that need no base."""

import argparse
from typing import Any

from mmrec_jax.commands.options import add_model_options, add_shard_option, shard_bytes


def add_parser(commands: Any) -> None:
    """Adds the subcommands to those of `mmrec`."""
    adapters = commands.add_parser("adapters", help="look at the adapters of a fine-tuned run")
    subcommands = adapters.add_subparsers(required=True, metavar="command")
    export = subcommands.add_parser("export", help="a folder that the peft library loads")
    add_model_options(export)
    export.add_argument("--out", required=True, help="the new folder")
    export.set_defaults(run=_export_adapters)
    show = subcommands.add_parser(
        "show", help="what is adapted, with which rank, and how much of the model is trained"
    )
    add_model_options(show)
    show.set_defaults(run=_show_adapters)
    for name, help_, out, run in (
        ("merge", "adapters and their base as one full checkpoint", "the new folder", _merge),
        ("export", "safetensors, config and tokenizer in a folder", "the new folder", _export),
    ):
        parser = commands.add_parser(name, help=help_)
        add_model_options(parser)
        parser.add_argument("--out", required=True, help=out)
        parser.set_defaults(run=run)
    add_shard_option(parser)


def _show_adapters(options: argparse.Namespace) -> None:
    """Prints one line per parameter that has adapters, and the sums."""
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
        elif isinstance(node, dora.Whole):
            what = "trained whole"
        else:
            what = f"{kind}, rank {node.a.shape[-1]}, scale {node.scale:g}"
        if isinstance(node, dora.Whole):  # the rows of new tokens are not in the base
            shapes.setdefault(name, node.value.shape)
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


def _export_adapters(options: argparse.Namespace) -> None:
    """Writes the adapters as `peft` has them."""
    from mmrec_jax import dora
    from mmrec_jax.checkpoints.export import require_new_folder
    from mmrec_jax.checkpoints.load import read_adapters, tensor_names

    target = require_new_folder(options.out)
    trained = read_adapters(options.workdir, options.step)
    new = getattr(trained.model, "new_rows", 0)
    rows = trained.model.vocab_size
    dora.write_peft(target.root, trained.adapters, tensor_names(trained.model), rows - new)
    resized = f"; its model: resize_token_embeddings({rows})" if new else ""
    print(f"{options.out}: adapter_config.json, adapter_model.safetensors{resized}")


def _merge(options: argparse.Namespace) -> None:
    """Writes a folder that every command reads like a run."""
    from mmrec_jax.checkpoints.export import require_new_folder
    from mmrec_jax.checkpoints.load import read_adapters, read_model
    from mmrec_jax.checkpoints.publish import write_merged

    read_adapters(options.workdir, options.step)
    require_new_folder(options.out)
    trained = read_model(options.workdir, options.step)
    write_merged(trained, options.out)
    print(f"{options.out}: step {trained.step:,} of {trained.root}, merged; read it with --workdir")


def _export(options: argparse.Namespace) -> None:
    """Writes the folder; adapters are merged."""
    from mmrec_jax.checkpoints.export import require_new_folder
    from mmrec_jax.checkpoints.load import read_model
    from mmrec_jax.checkpoints.publish import publish

    size = shard_bytes(options)
    require_new_folder(options.out)
    trained = read_model(options.workdir, options.step)
    files = publish(trained, options.out, size)
    print(f"{options.out}: {', '.join(files)}")
