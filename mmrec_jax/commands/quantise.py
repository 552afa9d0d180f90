"""`mmrec quantise`: a pretrained model in few bits, written once, for runs of adapters on it."""

import argparse
from typing import Any


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
    parser.add_argument("--shard-gb", type=float, default=5.0, help="1e9 bytes in a file, at most")
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

    target = require_new_folder(options.out)
    saved = open_model(options.model)
    if not isinstance(saved.model, TransformerConfig) or saved.model.new_rows:
        raise UserError(
            f"{options.model}: only a transformer without new rows is written in few bits; others "
            f"are quantised as a run begins, with config.adapters.base_dtype={options.dtype}"
        )
    kept = AdapterConfig("lora", base_dtype=options.dtype, embedding_dtype=options.embedding_dtype)
    trained = saved.read(convert=base_converter(kept))
    shard_bytes = round(options.shard_gb * 1e9)
    files = write_published(target.root, saved.model, trained.params, saved.tokenizer, shard_bytes)
    size = num_bytes(trained.params)
    print(f"{options.out}: {size:,} bytes of parameters in {', '.join(files)}")
