"""`mmrec eval` and `mmrec inspect`: what a trained model is worth, and what goes on inside it."""

import argparse
import dataclasses
import inspect
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import (
    add_model_options,
    add_out_option,
    add_text_options,
    make_out,
    read_lengths,
    require_positive,
    require_seed,
)
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    from mmrec_jax.evaluation.registry import EvaluateFn, Evaluation, EvaluationRequest

_DESCRIPTION = """evaluators:
  loss       loss and bits per byte of text, with the state carried along each document and in rows
             apart; of conversations that of the responses (plain text is read as text); of a task
             its loss and accuracy
  length     loss by position, with the state carried along each document, beside that of the same
             tokens with the state reset every trained length, and the far gain, their difference;
             a task's accuracy by length
  recall     associative recall (MQAR: pairs of random tokens, then every key again) and a needle in
             a text (a name and a number, again so many tokens later); without training for it,
             MQAR is near chance
  sample, turkish, dashboard    what a run measures at its own evaluations
  lm         tasks of lm-evaluation-harness (extra lm-eval) with their standard errors; those of
             turkish_pairs need no network
and those that modules named by config.plugins of the run register. Numbers and a picture, where
there are any, are written to NAME.json and NAME.png."""
_EVALUATORS_OF_TASKS = {"loss": "task", "length": "task_length"}
# Options of evaluators; who has which, and the defaults, their signatures say.
_OPTIONS: dict[str, tuple[type, str]] = {
    "lengths": (
        str,
        "loss, of a task's sequences: such as 40,4096 (default: the run's); recall, tokens from a "
        "needle to its second occurrence (default: 256,1024,4096,16384)",
    ),
    "max_length": (int, "length: tokens of context (default: 131072; of a task 16384)"),
    "max_tokens": (int, "length: the longest documents up to that (default: 131072)"),
    "reset_every": (int, "length: tokens between two resets (default: the trained length)"),
    "sequences": (
        int,
        "length of a task: at each length (default: 64); recall, MQAR: of each number of pairs "
        "(default: 256)",
    ),
    "samples": (
        int,
        "recall: texts of each length (default: 16); turkish: texts (default: the run's)",
    ),
    "seed": (int, "recall: of the draws (default: 0)"),
    "tasks": (str, "lm: names of tasks, groups or tags (default: turkish_pairs)"),
    "task_path": (str, "lm: a folder of tasks of your own"),
    "limit": (int, "lm: documents of each task (default: all)"),
    "fewshot": (int, "lm: examples before each question (default: as a task says)"),
}
_WRITERS = ("length", "recall", "dashboard")  # whose folder is made before anything is computed


def add_parser(commands: Any) -> None:
    """Adds both subcommands to those of `mmrec`."""
    parser = commands.add_parser("eval", help="evaluate a trained model", description=_DESCRIPTION)
    parser.add_argument("name", help="loss, length, recall or another evaluator")
    add_model_options(parser)
    add_text_options(parser, "the text; the run's own validation split when left out")
    add_out_option(parser, "eval")
    parser.add_argument("--batch-size", type=int, default=8, help="rows side by side")
    for option, (kind, help_) in _OPTIONS.items():
        parser.add_argument("--" + option.replace("_", "-"), type=kind, help=help_)
    parser.add_argument("--chat", action="store_true", help="lm: ask by the model's chat template")
    parser.set_defaults(run=_eval)
    parser = commands.add_parser(
        "inspect", help="half-lives, gates, norms and ranks of the memories: a table and a picture"
    )
    add_model_options(parser)
    add_text_options(parser, "the text; the run's own validation split when left out")
    add_out_option(parser, "inspect")
    parser.add_argument("--tokens", type=int, default=4096, help="of each document, at most")
    parser.add_argument("--rows", type=int, default=4, help="documents, the longest ones")
    parser.set_defaults(run=_inspect)


def _eval(options: argparse.Namespace) -> None:
    given = {name: x for name in _OPTIONS if (x := getattr(options, name)) is not None}
    texts = {name for name, (kind, _) in _OPTIONS.items() if kind is str}
    require_positive(options, "batch_size", *(given.keys() - texts - {"seed", "fewshot"}))
    if "seed" in given:
        require_seed(options)
    if "lengths" in given:
        given["lengths"] = read_lengths(options.lengths)
    if options.chat:
        given["chat"] = True
    if options.name == "lm":
        _harness(options, given)
    else:
        _evaluate(options, options.name, given)


def _harness(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Runs tasks of lm-evaluation-harness: of the run only the model is read."""
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.evaluation.harness import HarnessModel, evaluate
    from mmrec_jax.evaluation.registry import Evaluation
    from mmrec_jax.pretrained.published import find_published

    _require_options("lm", evaluate, given)
    if given.get("fewshot", 0) < 0:
        raise UserError(f"--fewshot is {options.fewshot}; it must be at least 0")
    if options.data is not None:
        raise UserError("--data: tasks of lm have texts of their own; leave it out")
    tasks = [name.strip() for name in given.pop("tasks", "turkish_pairs").split(",")]
    folder = None
    if options.out or find_published(options.workdir) is None:
        folder = make_out(options, Workdir(Path(options.workdir)).evaluations)
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)  # how tasks could be written
    model = HarnessModel(options.workdir, options.step, batch_size=options.batch_size)
    table, record = evaluate(model, tasks, **given)
    print(table)
    if folder is not None:
        _write(folder, "lm", model.step, Evaluation(record=record), Path(options.workdir))


def _inspect(options: argparse.Namespace) -> None:
    require_positive(options, "tokens", "rows")
    options.batch_size = options.rows
    given = {"rows": options.rows, "tokens": options.tokens, "thorough": True}
    _evaluate(options, "dashboard", given)


def _evaluate(options: argparse.Namespace, name: str, given: dict[str, Any]) -> None:
    """Calls an evaluator with its own options `given`, prints what it finds and writes it."""
    from mmrec_jax.checkpoints.load import open_model
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.commands.run_data import on_task, open_data
    from mmrec_jax.evaluation.registry import EVALUATORS, EvaluationRequest, format_metrics
    from mmrec_jax.pretrained.published import find_published
    from mmrec_jax.train.mesh import one_device

    saved = open_model(options.workdir, options.step)
    workdir, config = Workdir(saved.root), saved.config
    task = on_task(config, options)
    if task:
        name = _EVALUATORS_OF_TASKS.get(name, name)
        if name == "task" and "lengths" in given:
            data = dataclasses.replace(config.data, eval_lengths=given.pop("lengths"))
            config = dataclasses.replace(config, data=data)
            config.data.check(config)
    evaluate = EVALUATORS[name]
    _require_options(name, evaluate, given)
    opened = open_data(options, config, saved.tokenizer)
    thorough = "thorough" in given
    folder = workdir.inspect if thorough else workdir.evaluations
    if options.out or name.removeprefix("task_") in _WRITERS:
        if options.out is None and find_published(options.workdir) is not None:
            raise UserError("--out: name the folder to write into; a pretrained model has none")
        folder = make_out(options, folder)
    trained = saved.read()
    train = dataclasses.replace(
        config.train,
        batch_size=options.batch_size,
        accumulate=1,
        eval_batches=None,
        eval_carry=False,
    )
    request = EvaluationRequest(
        saved.model.build(),
        trained.params,
        opened.data,
        dataclasses.replace(config, train=train),
        {},
        one_device(),
        saved.step,
        opened.source,
    )
    if name == "loss" or (task and name == "task"):
        print(opened.description)
    if name == "loss":
        found = _loss(request, evaluate, conversations=opened.conversations)
    else:
        found = evaluate(request, **given)
    if not (found.text or found.metrics):
        raise UserError(f"{workdir.root}: {name} has nothing to say of this model on this data")
    print(found.text or format_metrics(found.metrics).replace(", ", "\n"))
    if found.record or options.out:
        stem = f"step_{saved.step}" if thorough else options.name
        _write(make_out(options, folder), stem, saved.step, found, workdir.root)


def _require_options(name: str, evaluate: Callable[..., Any], given: dict[str, Any]) -> None:
    """Refuses an option that would change nothing."""
    own = inspect.signature(evaluate).parameters
    for option in given.keys() - own.keys():
        flags = [f"--{each.replace('_', '-')}" for each in _OPTIONS if each in own]
        raise UserError(
            f"--{option.replace('_', '-')} is no option of the evaluator {name} here"
            + (f"; it has {', '.join(flags)}" if flags else "")
        )


def _loss(
    request: "EvaluationRequest", evaluate: "EvaluateFn", *, conversations: bool
) -> "Evaluation":
    """The loss as the text of a line for each way of reading."""
    from mmrec_jax.evaluation.registry import Evaluation, format_metrics

    rows = request.config.train.batch_size
    # One document per row at most where it is carried: other rows would be padding.
    ways = {
        "state carried along each document": (min(rows, request.text.num_documents), True),
        "rows apart": (rows, False),
    }
    if conversations:  # each has a row of its own
        ways = {"responses": (rows, False)}
    metrics: dict[str, float] = {}
    lines = []
    for label, (batch_size, carry) in ways.items():
        train = dataclasses.replace(request.config.train, batch_size=batch_size, eval_carry=carry)
        config = dataclasses.replace(request.config, train=train)
        found = evaluate(dataclasses.replace(request, config=config)).metrics
        metrics |= {f"{label}: {name}": value for name, value in found.items()}
        lines.append(f"{label}: {format_metrics(found)}")
    return Evaluation(metrics, text="\n".join(lines))


def _write(out: Path, stem: str, step: int, found: "Evaluation", root: Path) -> None:
    """The numbers and, if there is one, the picture."""
    from mmrec_jax.atomic_file import replace_file
    from mmrec_jax.curves import draw_panels

    content = {"step": step, **(found.record or found.metrics)}
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    names = [f"{stem}.png", f"{stem}.json"] if found.panels else [f"{stem}.json"]
    replace_file(out / names[-1], text.encode())
    if found.panels:
        run = root.name or root.resolve().name
        draw_panels(found.panels, f"{run}: {found.title}", out / names[0])
    print(f"{out}: {', '.join(names)}")


def _finite(value: Any) -> Any:
    """None for what is not finite: JSON has no word for it."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
