"""Peak memory of loading or quantising a large model beyond the bytes of its arrays (Linux).

    python -m benchmarks.pretrained_memory FOLDER --gigabytes 8 [--quantise NEW_FOLDER]

FOLDER gets random bfloat16 shards of Qwen3's shape, if it has none, and is then loaded by
`mmrec_jax.load` in a process of its own, onto the CPU; or `mmrec quantise` writes NEW_FOLDER.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mmrec_jax.memory import peak_memory
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.transformer.hugging_face import tensors, to_hugging_face
from mmrec_jax.pretrained.shards import SINGLE_FILE, LazyTensor, write_shards

_WIDTH, _FFN, _ROWS = 4096, 12_288, 151_936  # of Qwen3-8B
_LAYER = 2 * 192_937_984  # bytes of a layer's matrices


def _shapes(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    wide, narrow = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"q": (wide, _WIDTH), "o": (_WIDTH, wide)}
    shapes |= {"k": (narrow, _WIDTH), "v": (narrow, _WIDTH), "down": (_WIDTH, _FFN)}
    shapes |= {"gate": (_FFN, _WIDTH), "up": (_FFN, _WIDTH)}
    shapes |= {"embed": (_ROWS, _WIDTH), "head": (_ROWS, _WIDTH)}
    shapes |= {"q_norm": (config.head_dim,), "k_norm": (config.head_dim,)}
    return {
        name: shapes.get(tensor.path.split("/")[-2], (_WIDTH,))
        for name, tensor in tensors(config).items()
    }


def write_random(folder: Path, gigabytes: float) -> None:
    """A folder of about that size in shards of 2 GB."""
    tables = 2 * 2 * _ROWS * _WIDTH
    layers = max(1, round((gigabytes * 1e9 - tables) / _LAYER))
    config = TransformerConfig(
        vocab_size=_ROWS,
        model_dim=_WIDTH,
        num_layers=layers,
        num_heads=32,
        num_kv_heads=8,
        head_dim=128,
        ffn_dim=_FFN,
        qk_norm=True,
        tie_embeddings=False,
    )
    rng = np.random.default_rng(0)

    def new(shape: tuple[int, ...]) -> LazyTensor:
        def numbers() -> NDArray[Any]:
            found = np.empty(shape, ml_dtypes.bfloat16)
            for first in range(0, len(found), 4096):
                rows = found[first : first + 4096]
                rows[:] = rng.standard_normal(rows.shape, np.float32) * 0.02
            return found

        return LazyTensor(shape, np.dtype(ml_dtypes.bfloat16), numbers)

    folder.mkdir(parents=True, exist_ok=True)
    made = {name: new(x) for name, x in _shapes(config).items()}
    write_shards(folder / SINGLE_FILE, made, 2_000_000_000)
    tokenizer = Tokenizer(models.BPE({x: i for i, x in enumerate(_letters())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {**to_hugging_face(config), "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(described), "utf-8")


def _letters() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def load(folder: Path) -> dict[str, float]:
    """Loads the folder in this process: bytes of the arrays, peak beyond them, seconds."""
    import mmrec_jax
    from mmrec_jax.tree import num_bytes

    begin = time.perf_counter()
    _, params, _ = mmrec_jax.load(folder)
    return _measured(num_bytes(params), begin)


def quantise(folder: Path, out: Path) -> dict[str, float]:
    """Writes the folder in nf4, as `load`; the arrays are the bytes that are written."""
    from mmrec_jax.cli import main

    begin = time.perf_counter()
    main(["quantise", str(folder), "--out", str(out)])
    return _measured(sum(path.stat().st_size for path in out.glob("*.safetensors")), begin)


def _measured(placed: int, begin: float) -> dict[str, float]:
    seconds = time.perf_counter() - begin
    peak = peak_memory()
    return {"arrays": placed, "peak": peak, "beyond": peak - placed, "seconds": seconds}


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--quantise", type=Path, help="write this new folder, and do not load")
    parser.add_argument("--here", action="store_true", help="only that, in this process")
    options = parser.parse_args()
    if options.here:
        out = options.quantise
        print(json.dumps(quantise(options.folder, out) if out else load(options.folder)))
        return
    if not (options.folder / "config.json").is_file():
        write_random(options.folder, options.gigabytes)
    command = [sys.executable, "-m", "benchmarks.pretrained_memory", *sys.argv[1:], "--here"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
