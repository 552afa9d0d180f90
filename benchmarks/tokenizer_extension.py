"""Extends a tokenizer on a share of some documents and measures it on the rest, by domain.

    python -m benchmarks.tokenizer_extension --base tokenizer.json --text 'text/tr_*.txt' \
        --keep 'text/en_*.txt' --also 'ud/*dev*' --work runs/tokenizer --vocab-size 40000 \
        --superwords 10000

Every file of --text is a domain; a share of its documents (blocks, or lines where a file has few
blocks) is held out by a hash of their text. The texts of --keep, and the modules of the standard
library, must keep their ids though the command is not shown them; with --protect-half it is shown
half of each, and of the manual of the standard library, and the other half is measured. --also are
further texts to measure. Writes the parts, the tokenizer and the report card
into --work. What follows the options goes to `mmrec tokenizer extend`.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmrec_jax.cli import main as mmrec
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.data.files.reading import Reading, read_file
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.split import hold_out
from mmrec_jax.errors import UserError, exit_on_user_error

_FRACTION = 0.05
_PROTECTED = 0.5
_FEW = 10  # blocks; a file with fewer is cut at lines
_CODE = 4_000_000  # characters of the standard library


def main() -> None:
    """Splits, extends, reports; prints time and memory of the extension."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--keep", required=True)
    parser.add_argument("--also", required=True)
    parser.add_argument("--protect-half", action="store_true")
    parser.add_argument("--gold")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="tokenizer", help="of the folder in --work")
    options, extension = parser.parse_known_args()
    with exit_on_user_error():
        training, held = split(
            find_files(options.text, "--text"), options.work, ("training", "held_out"), _FRACTION
        )
        kept = [*find_files(options.keep, "--keep"), *_standard_library(options.work)]
        measured, protect = ",".join(map(str, kept)), []
        if options.protect_half:
            measured, protected = split(kept, options.work, ("kept", "protected"), _PROTECTED)
            protect = [f"--protect={protected}"]
    out = options.work / options.name
    base = f"--base={options.base}"
    command = [
        sys.executable,
        "-c",
        "from mmrec_jax.cli import main; main()",
        "tokenizer",
        "extend",
    ]
    start = time.monotonic()
    subprocess.run(
        [
            *(*command, base, f"--text={training}", *protect, f"--out={out}"),
            *("--fresh", *extension),
        ],
        check=True,
    )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    size = sum(path.stat().st_size for path in find_files(training, "--text"))
    seconds = time.monotonic() - start
    print(f"learned from {size / 1e6:.1f} MB in {seconds:.0f} s, peak memory {memory:.2f} GiB")
    gold = [f"--gold={options.gold}"] if options.gold else []
    texts = f"--text={held},{measured},{options.also}"
    mmrec(
        [
            *("tokenizer", "report", f"--tokenizer={out / 'tokenizer.json'}", base, texts, *gold),
            f"--out={out}",
        ]
    )


def split(
    files: Sequence[Path], work: Path, names: tuple[str, str], fraction: float
) -> tuple[str, str]:
    """Writes both parts of every file, and nothing else, into folders of `work`.

    Args:
      files: what is split.
      work: where the folders are.
      names: of the folders.
      fraction: of the documents, that the second folder gets.

    Returns:
      The files of either part, separated by commas.

    Raises:
      UserError: two files would be written under one name, or a file cannot be read.
    """
    named: dict[str, Path] = {}
    for path in files:
        name = path.stem if path.suffix.lower() == ".gz" else path.name
        other = named.setdefault(name, path)
        if other != path:
            raise UserError(f"--text: {other} and {path} would both be written as {name}")
    folders = [work / name for name in names]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name, path in named.items():
        documents = list(read_file(path, Reading("block")))
        joint = "\n\n"
        if len(documents) < _FEW:
            documents, joint = list(read_file(path, Reading("line"))), "\n"
        split, validation = hold_out({name: documents}, fraction)
        for folder, some in zip(folders, (split[name], validation), strict=True):
            (folder / name).write_text(joint.join(document.text for document in some), "utf-8")
    training, held = (",".join(str(folder / name) for name in named) for folder in folders)
    return training, held


def _standard_library(work: Path) -> list[Path]:
    """Writes modules and the manual of the standard library into files of `work`."""
    texts, size = [], 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        texts.append(path.read_text("utf-8"))
        size += len(texts[-1])
        if size > _CODE:
            break
    manual = [document.text for document in manual_documents()]
    files = [work / "python_code.txt", work / "python_manual.txt"]
    work.mkdir(parents=True, exist_ok=True)
    for path, parts in zip(files, (texts, manual), strict=True):
        path.write_text("\n\n".join(parts), "utf-8")
    return files


if __name__ == "__main__":
    main()
