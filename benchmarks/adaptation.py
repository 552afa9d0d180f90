"""SmolLM2-135M learns Turkish with and without new tokens, on equal bytes: one table.

    python -m benchmarks.adaptation --base=SmolLM2-135M-Instruct.Q4_1.gguf --work=runs/adaptation \
        --text='text/tr_wikiner.txt,text/tr_daron_blog.txt' --english=text/en_wikitext2_valid.txt

Cells are variants and seeds: the base as it is; trained without new tokens; with 8,000 new tokens;
the same without training their rows alone first. One whose JSON is in `logs/adaptation` is not run
again; one that was killed goes on. Every cell of a table reads as many bytes (--kilobytes).
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import header, row
from mmrec_jax.adapt.config import AdaptConfig
from mmrec_jax.adapt.pipeline import adapt
from mmrec_jax.adapt.record import Record
from mmrec_jax.atomic_file import replace_file
from mmrec_jax.config_file import read_any_config
from mmrec_jax.data.files.reading import find_sources
from mmrec_jax.errors import exit_on_user_error

LOGS = Path(__file__).with_name("logs") / "adaptation"
_ROOT = Path(__file__).resolve().parents[1]
_SHARES = {"align": 0.1, "first": 0.3, "second": 0.35, "third": 0.25}  # of the bytes
_VARIANTS = {
    "trained": "--config.extension.vocab_size=0",
    "extended": "--config.control=False",
    "unaligned": "--config.align.epochs=0",
}


def cell_config(variant: str, seed: int, options: argparse.Namespace) -> AdaptConfig:
    """The adaptation of a cell, which reads as many bytes as any other."""
    shares = dict(_SHARES)
    if variant != "extended":  # what the rows alone do not read
        shares["first"] += shares.pop("align")
    given = {name: getattr(options, name) for name in ("base", "text", "english")}
    overrides = [f"--config.{name}={value}" for name, value in given.items()]
    overrides += [f"--config.seed={seed}", _VARIANTS[variant], *options.overrides]
    overrides += ["--config.control=False", "--config.instruct.epochs=0"]
    overrides += ["--config.evaluation.samples=0"]
    config = read_any_config(str(_ROOT / "configs" / "adapt_smollm2.py"), overrides)
    # Epochs are of the training text, whose size all cells share.
    size = options.kilobytes * 1000 * (1 - config.english_share)
    text = sum(source.size for source in find_sources(options.text, "--text"))
    epochs = {name: share * size / text for name, share in shares.items()}
    stages = {
        name: dataclasses.replace(getattr(config, name), epochs=length)
        for name, length in epochs.items()
    }
    return dataclasses.replace(config, **stages)


def run_cell(variant: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What a cell measured; it goes on where it was killed."""
    root = options.work / f"{variant}_s{seed}"
    adapt(cell_config(variant, seed, options), root, until="evaluate")
    record = Record(root)
    models = record.results(["evaluate"])["evaluate"]["models"]
    stages = {name: each for name, each in record.stages.items() if "steps" in each.result}
    return {
        "variant": variant,
        "seed": seed,
        "kilobytes": options.kilobytes,
        "base": models["base"],
        "trained": models["trained"],
        "tokens": sum(each.result["tokens"] for each in stages.values()),
        "seconds": sum(each.seconds for each in stages.values()),
        "peak_bytes": max(each.peak_bytes or 0 for each in stages.values()),
        "overrides": options.overrides,
    }


def markdown(cells: list[dict[str, Any]]) -> str:
    """The table of all cells."""
    names = "variant", "seed", "bits/byte Turkish", "English", "tokens of the held-out Turkish"
    lines = header([*names, "tokens trained on", "minutes"])
    if cells:
        base = cells[0]["base"]
        facts = (f"{base[name]['bits_per_byte']:.4f}" for name in ("turkish", "english"))
        lines.append(row(["base", "", *facts, f"{base['turkish']['tokens']:,}", "", ""]))
    for cell in cells:
        found = cell["trained"]
        facts = (f"{found[name]['bits_per_byte']:.4f}" for name in ("turkish", "english"))
        size, minutes = f"{found['turkish']['tokens']:,}", f"{cell['seconds'] / 60:.0f}"
        read = f"{cell['tokens']:,}"
        lines.append(row([cell["variant"], str(cell["seed"]), *facts, size, read, minutes]))
    return "\n".join(lines)


def main() -> None:
    """Runs the cells that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--english", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kilobytes", type=int, default=150, help="that each cell trains on")
    parser.add_argument("--seeds", type=int, default=2)
    options, rest = parser.parse_known_args()
    options.overrides = rest
    LOGS.mkdir(parents=True, exist_ok=True)
    with exit_on_user_error():
        for seed in range(options.seeds):
            for variant in _VARIANTS:
                path = LOGS / f"{variant}_s{seed}.json"
                if not path.exists():
                    content = json.dumps(run_cell(variant, seed, options), indent=1) + "\n"
                    replace_file(path, content.encode())
    order = [*_VARIANTS]
    cells = [json.loads(path.read_text()) for path in LOGS.glob("*.json")]
    print(markdown(sorted(cells, key=lambda cell: (order.index(cell["variant"]), cell["seed"]))))


if __name__ == "__main__":
    main()
