"""`mmrec tokenizer init-embeddings`: rows for the new tokens."""

import argparse
from pathlib import Path
from typing import Any

from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.embedding_method import METHODS

_INPUT = "model.embed_tokens.weight"
_OUTPUT = "lm_head.weight"


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec tokenizer`."""
    parser = commands.add_parser(
        "init-embeddings",
        help="embedding rows for the new tokens",
        description="Reads a safetensors file with the matrices of the base tokenizer, one row a "
        "token, and writes one with those of the extended tokenizer. The rows of the old tokens "
        "keep their bits; other tensors are copied.",
    )
    parser.add_argument("--base", required=True, help="tokenizer.json of the matrices")
    parser.add_argument("--tokenizer", required=True, help="the extended tokenizer.json")
    parser.add_argument("--weights", required=True, help="safetensors file to read")
    parser.add_argument("--out", required=True, help="safetensors file to write")
    parser.add_argument(
        "--matrices",
        help=f"comma-separated names of the input and output matrices; {_INPUT} and, where there "
        f"is one, {_OUTPUT} when left out",
    )
    parser.add_argument(
        "--method",
        default="mean",
        choices=METHODS,
        help="mean of the rows of the old tokens that a new one is made of; the same weighted by "
        "their bytes; the average of all old tokens",
    )
    parser.add_argument(
        "--noise", type=float, default=0.0, help="as a share of the spread of the old rows"
    )
    parser.add_argument("--multiple", type=int, default=128, help="pad the rows to a multiple")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the extended matrices.

    Raises:
      UserError: a file or an option is wrong, or the files do not belong together.
    """
    require_positive(options, "multiple")
    if not 0 <= options.noise < float("inf"):
        raise UserError(f"--noise is {options.noise}; it must be at least 0 and finite")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be at least 0")
    from safetensors.numpy import save

    from mmrec_jax.atomic_file import replace_file
    from mmrec_jax.data.seeds import hashed_seed
    from mmrec_jax.tokenizers.bpe_file import BpeFile
    from mmrec_jax.tokenizers.byte_alphabet import unspell
    from mmrec_jax.tokenizers.embeddings import constituents, extend_rows

    base = BpeFile.read(Path(options.base))
    parts = constituents(base, BpeFile.read(Path(options.tokenizer)))
    lengths = {index: len(unspell(token)) for token, index in base.vocab.items()}
    tensors, metadata = _read(options.weights)
    for name in _names(options, tensors):
        matrix = tensors[name]
        if matrix.ndim != 2 or matrix.dtype.kind not in "fV" or len(matrix) < base.next_id:
            raise UserError(
                f"{options.weights}: {name} is {matrix.dtype} {list(matrix.shape)}; the matrix of "
                f"this tokenizer has floating-point numbers and at least {base.next_id} rows"
            )
        tensors[name] = extend_rows(
            matrix,
            base.next_id,
            parts,
            lengths,
            options.method,
            options.noise,
            options.multiple,
            hashed_seed("embedding noise", name, options.seed),
        )
        print(f"{name}: {list(matrix.shape)} -> {list(tensors[name].shape)} {matrix.dtype}")
    try:
        replace_file(Path(options.out), save(tensors, metadata))
    except OSError as error:
        raise UserError(f"{options.out}: cannot be written: {error.strerror}") from None


def _names(options: argparse.Namespace, tensors: dict[str, Any]) -> list[str]:
    if options.matrices is None:
        names = [_INPUT, *([_OUTPUT] if _OUTPUT in tensors else [])]
    else:
        names = [name.strip() for name in options.matrices.split(",")]
    for name in names:
        if name not in tensors:
            raise UserError(
                f"{options.weights}: there is no tensor {name}; --matrices names those to extend, "
                f"of: {', '.join(sorted(tensors)[:8])}"
            )
    return names


def _read(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    import jax.numpy  # noqa: F401  (brings bfloat16 to numpy)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            return tensors, content.metadata() or {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: this is not a safetensors file: {error}") from None
