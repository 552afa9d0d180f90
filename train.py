"""Trains an MM-Rec language model: `python train.py --config=configs/tiny.py`.

Any field can be set on the command line, as in `--config.optim.lr=1e-3`; `mmrec config` prints all
of them. The same command continues an interrupted run; `--fresh` starts it anew.
"""

import argparse
from pathlib import Path

from mmrec_jax.config_file import parse_with_overrides, read_config
from mmrec_jax.errors import exit_on_user_error


def main() -> int:
    """Checks the config and runs it; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="the run, a file such as configs/tiny.py")
    parser.add_argument("--workdir", help="the run's folder; runs/<config name> by default")
    parser.add_argument("--fresh", action="store_true", help="forget the run in the workdir")
    parser.add_argument(
        "--resume-step",
        type=int,
        metavar="N",
        help="continue from the checkpoint of step N; later ones are moved aside",
    )
    parser.add_argument(
        "--distributed",
        metavar="WHERE",
        help="one of several processes that train together in one --workdir: auto on TPU pods, "
        "Slurm and Kubernetes, or ADDRESS:PORT,COUNT,NUMBER (where the first listens, how many, "
        "which one); a process a host, or a GPU (CUDA_VISIBLE_DEVICES), or a CPU core",
    )
    options = parse_with_overrides(parser)
    if options.fresh and options.resume_step is not None:
        parser.error("--fresh forgets all checkpoints: give it without --resume-step")
    with exit_on_user_error():
        config = read_config(options.config, options.overrides)
        # Imported late: a mistake in the config is told at once, not after JAX has started.
        from mmrec_jax.train.loop import run
        from mmrec_jax.train.processes import exit_on_error, init_distributed

    with exit_on_error(), exit_on_user_error():
        if options.distributed:
            init_distributed(options.distributed)
        workdir = options.workdir or f"runs/{Path(options.config).stem}"
        return run(config, Path(workdir), fresh=options.fresh, resume_step=options.resume_step)


if __name__ == "__main__":
    raise SystemExit(main())
