"""The command of lm-evaluation-harness, with `--model mmrec`."""

import runpy

from mmrec_jax.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        import mmrec_jax.evaluation.harness  # noqa: F401  # registers the model

        runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
