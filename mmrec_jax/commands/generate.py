"""`mmrec generate`: continue a prompt with a trained model."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from mmrec_jax.commands.options import (
    add_model_options,
    read_text_model,
    require_positive,
    require_seed,
)
from mmrec_jax.errors import UserError

# Parameters from which on the answers of a model make sense, roughly.
_SENSIBLE = 50_000_000


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser("generate", help="continue a prompt with a trained model")
    add_model_options(parser)
    parser.add_argument(
        "--adapter", help="a run whose adapters are merged into this model, or a folder of peft's"
    )
    parser.add_argument("--prompt", default="", help="text to continue; empty: a new document")
    parser.add_argument(
        "--chat",
        action="store_true",
        help="the prompt is a message to respond to, written as the chat template that was stored "
        "with the model says; after --load-state it is the next message",
    )
    parser.add_argument("--system", default="", help="with --chat: a system message before it")
    parser.add_argument("--max-tokens", type=int, default=200, help="to draw, at most")
    parser.add_argument("--samples", type=int, default=1, help="continuations to draw")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: most likely token")
    parser.add_argument("--top-k", type=int, default=0, help="0: all tokens")
    parser.add_argument("--top-p", type=float, default=0.95, help="1: all tokens")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="1: none")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument(
        "--ignore-end", action="store_true", help="go on where the model ends the document"
    )
    parser.add_argument(
        "--save-state",
        metavar="FILE",
        help="keep the state after the prompt and the text written (and not the end of the "
        "document, if the model ended it), to continue them with --load-state; needs --samples=1; "
        "a saved state of that name is replaced, the one just loaded too: that is to go on with "
        "it. --max-tokens=0 reads the prompt and writes nothing",
    )
    parser.add_argument(
        "--load-state",
        metavar="FILE",
        help="continue the document of a saved state, the prompt appended to it. The draws count "
        "on: with the seed of before and no prompt, the text is that of an uninterrupted run",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Streams the first continuation as it is drawn; further ones follow it."""
    require_positive(options, "samples", *([] if options.save_state else ["max_tokens"]))
    require_seed(options)
    _check_save(options)
    _check_chat(options)
    from mmrec_jax.inference.sampling import Sampling

    sampling = Sampling(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        repetition_penalty=options.repetition_penalty,
    )
    import jax

    from mmrec_jax.inference.chat import reply
    from mmrec_jax.inference.generate import generate
    from mmrec_jax.inference.prefill import TextState
    from mmrec_jax.inference.rereading import state_shapes
    from mmrec_jax.inference.saved_state import load_state, save_state
    from mmrec_jax.models.growing_state import GrowingState
    from mmrec_jax.tokenizers.conversation import Message
    from mmrec_jax.tree import count, num_bytes

    trained = read_text_model(options)
    model, params, tokenizer = trained.model.build(), trained.params, trained.tokenizer
    state = None
    if options.load_state:
        state = load_state(options.load_state, model, params, tokenizer)
    first = jax.eval_shape(lambda: model.initial_state(1))
    size = num_bytes(first)
    times: list[float] = []
    states: list[TextState] = []

    def show(text: str) -> None:
        times.append(time.perf_counter())
        print(text, end="", flush=True)

    write: Callable[..., list[str]] = generate
    shown, asked = options.prompt, options.prompt
    if options.chat:
        system = [Message("system", options.system)] if options.system else []
        write, shown, asked = reply, "", [*system, Message("user", options.prompt)]
    print(shown, end="", flush=True)
    texts = write(
        model,
        params,
        tokenizer,
        asked,
        max_tokens=options.max_tokens,
        samples=options.samples,
        sampling=sampling,
        seed=options.seed,
        stop_at_end=not options.ignore_end,
        on_text=show,
        state=state,
        on_state=states.append if options.save_state else None,
    )
    print()
    for text in texts[1:]:
        print(f"---\n{shown}{text}")
    rate = ""
    if len(times) > 1:
        rate = f", {options.samples * (len(times) - 1) / (times[-1] - times[0]):,.0f} tokens/s"
    state_size = f"state {size:,} bytes per sample, whatever the length" if size else "no state"
    if isinstance(first, GrowingState):
        each = num_bytes(state_shapes(model, 1024)) // 1024
        state_size = f"state {each:,} bytes per sample and token, which grows with the text"
    print(f"[{state_size}{rate}]", file=sys.stderr)
    parameters = count(params)
    if options.chat and parameters < _SENSIBLE:
        print(
            f"[{parameters:,} parameters: expect the form of an answer, hardly its sense]",
            file=sys.stderr,
        )
    if options.save_state:
        written = save_state(
            options.save_state, states[0], model, params, tokenizer, step=trained.step
        )
        print(
            f"[{options.save_state}: {written:,} bytes, the state after "
            f"{states[0].length:,} tokens; continue with --load-state]",
            file=sys.stderr,
        )


def _check_chat(options: argparse.Namespace) -> None:
    """Refuses what makes no sense with, or without, a message."""
    if options.chat and not options.prompt.strip():
        raise UserError("--chat needs a message to respond to: give --prompt")
    if options.system and not options.chat:
        raise UserError("--system is a message of a conversation: it needs --chat")
    if options.system and options.load_state:
        raise UserError("--system begins a conversation; with --load-state one goes on")


def _check_save(options: argparse.Namespace) -> None:
    """Refuses what would fail only after the text is written."""
    if options.max_tokens < 0:
        raise UserError(f"--max-tokens is {options.max_tokens}; it must be at least 0")
    if not options.save_state:
        return
    if options.samples != 1:
        raise UserError(
            f"--samples is {options.samples}; with --save-state it must be 1: "
            "a state holds one text"
        )
    from mmrec_jax.inference.saved_state import STATE_FORMAT

    STATE_FORMAT.require_writable(options.save_state)
