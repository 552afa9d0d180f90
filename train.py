"""`mmrec train` in a copy of the repository: `python train.py --config=configs/tiny.py`."""

import sys

from mmrec_jax import cli


def main() -> None:
    """Trains as the arguments of this process say; the status comes as `SystemExit`."""
    cli.main(["train", *sys.argv[1:]])


if __name__ == "__main__":
    main()
