"""`mmrec quantise`: a pretrained model in few bits, written once, for runs of adapters on it."""

import argparse
from typing import Any

from mmrec_jax.commands.options import add_shard_option, shard_bytes


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser(
        "quantise", help="a pretrained model in few bits, to begin runs of adapters with"
    )
    parser.add_argument("model", help="a Hugging Face folder, a Hub id (org/name), a GGUF file")
    parser.add_argument("--out", required=True, help="the new folder, for config.init_from")
    parser.add_argument("--dtype", choices=("nf4", "int8"), default="nf4", help="of kernels")
    parser.add_argument(
        "--embedding-dtype", choices=("int8",), default="", help="of embedding and head"
    )
    add_shard_option(parser)
    parser.set_defaults(run=_quantise)


def _quantise(options: argparse.Namespace) -> None:
    """Reads the model layer by layer, of which the numbers in few bits alone are kept."""
    from mmrec_jax.adapter_config import AdapterConfig
    from mmrec_jax.checkpoints.export import require_new_folder
    from mmrec_jax.checkpoints.load import open_model
    from mmrec_jax.dora.base import base_converter
    from mmrec_jax.errors import UserError
    from mmrec_jax.models.transformer.config import TransformerConfig
    from mmrec_jax.pretrained.writing import write_published
    from mmrec_jax.tree import num_bytes

    size = shard_bytes(options)
    target = require_new_folder(options.out)
    saved = open_model(options.model)
    if not isinstance(saved.model, TransformerConfig) or saved.model.new_rows:
        raise UserError(
            f"{options.model}: only a transformer without new rows is written in few bits; others "
            f"are quantised as a run begins, with config.adapters.base_dtype={options.dtype}"
        )
    kept = AdapterConfig("lora", base_dtype=options.dtype, embedding_dtype=options.embedding_dtype)
    trained = saved.read(convert=base_converter(kept))
    facts = saved.model, trained.params, saved.tokenizer, size
    files = write_published(target.root, *facts)
    print(f"{options.out}: {num_bytes(trained.params):,} bytes of parameters in {', '.join(files)}")
