"""Trains an MM-Rec language model: `python train.py --config=configs/tiny.py [--workdir=DIR]`.

Any field can be set on the command line, as in `--config.optim.lr=1e-3`. The same command continues
an interrupted run; `--fresh` starts it anew.
"""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from mmrec_jax.config import from_config_dict
from mmrec_jax.errors import exit_on_user_error

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The run, a file such as configs/tiny.py."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; runs/<config name> by default.")
_FRESH = flags.DEFINE_bool("fresh", False, "Forget the run in the workdir and start anew.")


def main(arguments: list[str]) -> int:
    """Checks the config and runs it."""
    with exit_on_user_error():
        if len(arguments) > 1:
            raise app.UsageError(f"unexpected argument {arguments[1]!r}")
        config = from_config_dict(_CONFIG.value)
        # Imported late: a mistake in the config is told at once, not after JAX has started.
        from mmrec_jax.train.loop import run

        name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
        return run(config, Path(_WORKDIR.value or f"runs/{name}"), fresh=_FRESH.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
