"""Trains an MM-Rec language model: `python train.py --config=configs/tiny.py`.

Any field can be set on the command line, as in `--config.optim.lr=1e-3`; `mmrec config` prints
every field. The same command continues an interrupted run; `--fresh` starts it anew.
"""

from pathlib import Path

from mmrec_jax.errors import exit_on_user_error, replace_unencodable_output
from mmrec_jax.train.interrupt import exit_now, exit_on_signal


def main() -> None:
    """Checks the config and runs it; the status comes as `SystemExit`."""
    # Imported late: a signal, and a mistake in the config, are answered before JAX has started.
    from mmrec_jax.argument_parser import ArgumentParser, add_version
    from mmrec_jax.config_file import parse_with_overrides, read_config

    replace_unencodable_output()
    parser = ArgumentParser(description=__doc__)
    add_version(parser)
    parser.add_argument("--config", required=True, help="the run, a file such as configs/tiny.py")
    parser.add_argument("--workdir", help="the run's folder; runs/<config name> by default")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="forget the run in the workdir; compiled programs, which every run shares, stay",
    )
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
        "which one); one process per host, or per GPU (CUDA_VISIBLE_DEVICES), or per CPU core",
    )
    options = parse_with_overrides(parser)
    if options.fresh and options.resume_step is not None:
        parser.error("--fresh forgets all checkpoints: give it without --resume-step")
    with exit_on_user_error():
        config = read_config(options.config, options.overrides)
        from mmrec_jax.train.loop import run
        from mmrec_jax.train.processes import exit_on_error, init_distributed

    with exit_on_error(), exit_on_user_error():
        if options.distributed:
            init_distributed(options.distributed)
        workdir = options.workdir or f"runs/{Path(options.config).stem}"
        again = {"fresh": options.fresh, "resume_step": options.resume_step}
        raise SystemExit(run(config, Path(workdir), **again))


if __name__ == "__main__":
    exit_on_signal()
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int) and end.code:
            exit_now(end.code)  # threads may still compile
        raise
