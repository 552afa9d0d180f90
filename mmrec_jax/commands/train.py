"""`mmrec train`: a run, begun or continued."""

import argparse
from pathlib import Path
from typing import Any

_DESCRIPTION = """Trains a language model: mmrec train tiny. Any field can be set, as in
--config.optim.lr=1e-3; `mmrec config` prints every field. The same command continues an interrupted
run; --fresh starts it anew."""


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    from mmrec_jax.argument_parser import add_version

    parser = commands.add_parser("train", help="train a model", description=_DESCRIPTION)
    add_version(parser)
    add = parser.add_argument
    names = "the run: a file, or the name of a config that is installed, such as tiny"
    # What is not typed must not replace what the other one said.
    add("config", nargs="?", default=argparse.SUPPRESS, metavar="CONFIG", help=names)
    add("--config", help="the same: --config=configs/tiny.py")
    add("--workdir", help="the run's folder; runs/<config name> by default")
    add(
        "--fresh",
        action="store_true",
        help="forget the run in the workdir; compiled programs, which every run shares, stay",
    )
    add(
        "--resume-step",
        type=int,
        metavar="N",
        help="continue from the checkpoint of step N; later ones are moved aside",
    )
    add(
        "--distributed",
        metavar="WHERE",
        help="one of several processes that train together in one --workdir: auto on TPU pods, "
        "Slurm and Kubernetes, or ADDRESS:PORT,COUNT,NUMBER (where the first listens, how many, "
        "which one); one process per host, or per GPU (CUDA_VISIBLE_DEVICES), or per CPU core",
    )
    parser.set_defaults(run=_train, refuse=parser.error)


def _train(options: argparse.Namespace) -> None:
    """Checks the config and runs it; the status comes as `SystemExit`."""
    # Imported late: a signal, and a mistake in the config, are answered before JAX has started.
    from mmrec_jax.config_file import read_config
    from mmrec_jax.errors import exit_on_user_error
    from mmrec_jax.train import interrupt

    if not options.config:
        options.refuse("say what to train, such as mmrec train tiny")
    if options.fresh and options.resume_step is not None:
        options.refuse("--fresh forgets all checkpoints: give it without --resume-step")
    with interrupt.process_that_trains(), exit_on_user_error():
        config = read_config(options.config, options.overrides)
        from mmrec_jax.train import report
        from mmrec_jax.train.loop import run
        from mmrec_jax.train.processes import exit_on_error, init_distributed

        with exit_on_error(), exit_on_user_error():
            if options.distributed:
                init_distributed(options.distributed)
            workdir = Path(options.workdir or f"runs/{Path(options.config).stem}")
            again = {"fresh": options.fresh, "resume_step": options.resume_step}
            status = run(config, workdir, **again)
            if not status:
                report.suggest(config, workdir)
            raise SystemExit(status)
