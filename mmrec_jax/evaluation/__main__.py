"""The command of lm-evaluation-harness, with `--model mmrec`."""

from mmrec_jax.errors import exit_on_user_error


def main() -> None:
    """Runs it with the arguments of the command line."""
    with exit_on_user_error():
        from lm_eval.__main__ import cli_evaluate

        import mmrec_jax.evaluation.harness  # noqa: F401  # registers the model

        cli_evaluate()


if __name__ == "__main__":
    main()
