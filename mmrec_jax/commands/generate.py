"""`mmrec generate`: continue a prompt with a trained model."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from mmrec_jax.commands.options import add_model_options, require_positive
from mmrec_jax.errors import UserError


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser("generate", help="continue a prompt with a trained model")
    add_model_options(parser)
    parser.add_argument("--prompt", default="", help="text to continue; empty: a new document")
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--samples", type=int, default=1, help="continuations to draw")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: most likely token")
    parser.add_argument("--top-k", type=int, default=0, help="0: all tokens")
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--ignore-end", action="store_true", help="go on where the model ends the document"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Streams the first continuation as it is drawn; further ones follow it.

    Raises:
      UserError: an option, or the run's folder, is wrong.
    """
    require_positive(options, "max_tokens", "samples")
    from mmrec_jax.sampling import Sampling

    sampling = Sampling(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        repetition_penalty=options.repetition_penalty,
    )
    from mmrec_jax.data.tasks.registry import TASKS
    from mmrec_jax.generation import generate
    from mmrec_jax.loading import load
    from mmrec_jax.nn.state import state_bytes, zero_state
    from mmrec_jax.workdir import Workdir

    workdir = options.workdir
    config, _ = Workdir(Path(workdir)).read_config()
    if config.data.source in TASKS:
        raise UserError(
            f'{workdir}: this model was trained on the task "{config.data.source}": it answers '
            "what it reads and writes no text of its own. To score it: mmrec eval loss "
            f"--workdir={workdir}"
        )
    model, params, tokenizer = load(workdir, options.step)
    size = state_bytes(zero_state(model.config, 1))
    times: list[float] = []

    def show(text: str) -> None:
        times.append(time.perf_counter())
        print(text, end="", flush=True)

    print(options.prompt, end="", flush=True)
    texts = generate(
        model,
        params,
        tokenizer,
        options.prompt,
        max_tokens=options.max_tokens,
        samples=options.samples,
        sampling=sampling,
        seed=options.seed,
        stop_at_end=not options.ignore_end,
        on_text=show,
    )
    print()
    for text in texts[1:]:
        print(f"---\n{options.prompt}{text}")
    rate = ""
    if len(times) > 1:
        rate = f", {options.samples * (len(times) - 1) / (times[-1] - times[0]):,.0f} tokens/s"
    print(f"[state {size:,} bytes a sample, whatever the length{rate}]", file=sys.stderr)
