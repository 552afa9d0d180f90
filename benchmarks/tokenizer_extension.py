"""Extends a tokenizer on a share of some documents and measures it on the rest, by domain.

    python benchmarks/tokenizer_extension.py --base tokenizer.json --text 'text/tr_*.txt' \
        --also 'text/en_*.txt,ud/*dev*' --work runs/tokenizer --vocab-size 40000 --superwords 10000

Every file of --text is a domain; a share of its documents (blocks, or lines where a file has few
blocks) is held out by a hash of their text. Writes the parts, the tokenizer and the report card
into --work; --also are further texts to measure, and the modules of the standard library are always
one. What follows the options goes to `mmrec tokenizer extend`.
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
from mmrec_jax.data.formats.documents import text_documents
from mmrec_jax.data.formats.paths import find_files
from mmrec_jax.data.split import hold_out
from mmrec_jax.errors import UserError, exit_on_user_error

_FRACTION = 0.05
_FEW = 10  # blocks; a file with fewer is cut at lines
_CODE = 2_000_000  # characters of the standard library


def main() -> None:
    """Splits, extends, reports; prints time and memory of the extension."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--also", required=True)
    parser.add_argument("--gold")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="tokenizer", help="of the folder in --work")
    options, extension = parser.parse_known_args()
    with exit_on_user_error():
        training, held = split(find_files(options.text, "--text"), options.work)
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
        [*command, base, f"--text={training}", f"--out={out}", "--fresh", *extension], check=True
    )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    size = sum(path.stat().st_size for path in find_files(training, "--text"))
    seconds = time.monotonic() - start
    print(f"learned from {size / 1e6:.1f} MB in {seconds:.0f} s, peak memory {memory:.2f} GiB")
    code = options.work / "python_code.txt"
    code.write_text(_standard_library(), "utf-8")
    gold = [f"--gold={options.gold}"] if options.gold else []
    texts = f"--text={held},{options.also},{code}"
    mmrec(
        [
            *("tokenizer", "report", f"--tokenizer={out / 'tokenizer.json'}", base, texts, *gold),
            f"--out={out}",
        ]
    )


def split(files: Sequence[Path], work: Path) -> tuple[str, str]:
    """Writes both parts of every file, and nothing else, into folders of `work`.

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
    folders = (work / "training", work / "held_out")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name, path in named.items():
        documents = text_documents(path, "block")
        joint = "\n\n"
        if len(documents) < _FEW:
            documents, joint = text_documents(path, "line"), "\n"
        for folder, some in zip(folders, hold_out(documents, _FRACTION), strict=True):
            (folder / name).write_text(joint.join(document.text for document in some), "utf-8")
    training, held = (",".join(str(folder / name) for name in named) for folder in folders)
    return training, held


def _standard_library() -> str:
    texts, size = [], 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        texts.append(path.read_text("utf-8"))
        size += len(texts[-1])
        if size > _CODE:
            break
    return "".join(texts)


if __name__ == "__main__":
    main()
