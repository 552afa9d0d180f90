"""`mmrec eval recall`: what a model remembers of what it has just read."""

import argparse
import dataclasses
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
    import numpy as np
    from numpy.typing import NDArray

    from mmrec_jax.evaluation.needle import NeedleScore
    from mmrec_jax.evaluation.recall import RecallScore
    from mmrec_jax.models.api import LanguageModel, Params

_PAIRS = (1, 2, 4, 8, 16, 32, 64)


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec eval`."""
    parser = commands.add_parser(
        "recall",
        help="associative recall (MQAR) and a needle in a haystack",
        description="MQAR: pairs of random tokens, then every key again. Needle: a random key and\n"
        "value somewhere in a text, then the key again. Any checkpoint can be asked; without\n"
        "training for it, MQAR is near chance. Writes recall.png and recall.json.",
    )
    add_model_options(parser)
    add_text_options(parser, "the needle's text; the run's validation split when left out")
    add_out_option(parser, "eval")
    parser.add_argument("--lengths", default="256,1024,4096,16384", help="of the needle's text")
    parser.add_argument("--samples", type=int, default=4, help="needle: texts of each length")
    parser.add_argument("--sequences", type=int, default=256, help="MQAR: of each number of pairs")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints the tables and writes the picture and the numbers."""
    require_positive(options, "samples", "sequences")
    require_seed(options)
    from mmrec_jax.checkpoints.workdir import Workdir
    from mmrec_jax.evaluation.needle import SHORTEST

    lengths = read_lengths(options.lengths)
    if min(lengths) < SHORTEST:
        raise UserError(f"--lengths has {min(lengths)}; each must be at least {SHORTEST}")
    workdir = Workdir(Path(options.workdir))
    config, _ = workdir.read_config()

    import jax
    import numpy as np

    from mmrec_jax.checkpoints.load import load
    from mmrec_jax.commands.run_data import on_task, run_text
    from mmrec_jax.evaluation.recall import ordinary_ids, rare_ids
    from mmrec_jax.evaluation.record import draw_recall, write_record
    from mmrec_jax.tree import num_bytes

    task = on_task(config, options)
    name, documents = ("", []) if task else run_text(options, config)
    model, params, tokenizer = load(options.workdir, options.step)
    ids = ordinary_ids(tokenizer)
    if len(ids) < 4:
        raise UserError(
            f"{workdir.root}: the vocabulary has {len(ids)} ordinary tokens; two pairs take 4"
        )
    parts = [tokenizer.encode(document.text) for document in documents]
    filler = np.concatenate([np.zeros(0, np.int32), *parts])  # all documents end to end
    rare = rare_ids(ids, filler)
    out = make_out(options, workdir.evaluations)
    size = num_bytes(jax.eval_shape(lambda: model.initial_state(1)))
    state = f"state: {size:,} bytes, whatever the length" if size else "no state: the text is kept"
    print(state)
    # In the examples of a task nothing stands before the first symbol.
    recall = _recall(options, model, params, ids, None if task else tokenizer.bos_id)
    needle = []
    if task:
        print(f'needle: left out, the task "{config.data.source}" has no text to hide it in')
    else:
        needle = _needle(options, model, params, name, filler, rare, lengths, tokenizer.bos_id)
    title = f"{workdir.root.name}: {state}"
    draw_recall(recall, needle, title, out / "recall.png")
    content = {
        "step": options.step,
        "seed": options.seed,
        "state_bytes": size,
        "mqar": [dataclasses.asdict(score) for score in recall],
        "needle": [dataclasses.asdict(score) for score in needle],
    }
    write_record(out / "recall.json", content)
    print(f"{out}: recall.png, recall.json")


def _recall(
    options: argparse.Namespace,
    model: "LanguageModel",
    params: "Params",
    ids: "NDArray[np.int32]",
    begin_id: int | None,
) -> "list[RecallScore]":
    from tqdm import tqdm

    from mmrec_jax.evaluation.recall import most_pairs, score_recall

    pairs = [count for count in _PAIRS if count <= most_pairs(ids)]
    if len(pairs) < len(_PAIRS):
        print(f"MQAR: {len(ids)} ordinary tokens are enough for {pairs[-1]} pairs and no more")
    tokens = sum(options.sequences * (3 * count + (begin_id is not None)) for count in pairs)
    with tqdm(total=tokens, unit=" tokens", unit_scale=True, desc="MQAR") as bar:
        scores = score_recall(
            model,
            params,
            ids,
            pairs,
            begin_id=begin_id,
            sequences=options.sequences,
            seed=options.seed,
            on_read=bar.update,
        )
    print(f"{'MQAR pairs':>12} {'accuracy':>16} {'chance':>8} {'right value':>12} {'others':>8}")
    for score in scores:
        error = "" if score.error is None else f" ±{score.error:.2%}"
        others = "" if score.other_nll is None else f"{score.other_nll:.3f}"
        print(
            f"{score.pairs:>12} {f'{score.accuracy:.2%}{error}':>16} {score.chance:>8.2%} "
            f"{score.right_nll:>12.3f} {others:>8}"
        )
    print("accuracy: among the sequence's own values; right value, others: mean nats")
    return scores


def _needle(
    options: argparse.Namespace,
    model: "LanguageModel",
    params: "Params",
    name: str,
    filler: "NDArray[np.int32]",
    rare: "NDArray[np.int32]",
    lengths: tuple[int, ...],
    begin_id: int,
) -> "list[NeedleScore]":
    from tqdm import tqdm

    from mmrec_jax.evaluation.needle import DEPTHS, FEWEST_IDS, score_needle

    if len(rare) < FEWEST_IDS:
        print(f"needle: left out, {name} has only {len(rare)} rare tokens to make it of")
        return []
    fitting = [length for length in lengths if length <= len(filler)]
    if len(fitting) < len(lengths):
        left_out = ", ".join(f"{length:,}" for length in lengths if length > len(filler))
        print(
            f"needle: {name} has {len(filler):,} tokens, too few for texts of {left_out}; give "
            "longer text with --data=FILE"
        )
    if not fitting:
        return []
    tokens = sum(fitting) * options.samples * (1 + len(DEPTHS))
    with tqdm(total=tokens, unit=" tokens", unit_scale=True, desc="needle") as bar:
        scores = score_needle(
            model,
            params,
            filler,
            rare,
            fitting,
            begin_id=begin_id,
            samples=options.samples,
            seed=options.seed,
            on_read=bar.update,
        )
    for title, rows in (
        ("value is first of 101", [[f"{x:.0%}" for x in s.accuracy] for s in scores]),
        ("profit, nats/token", [[f"{x:+.2f}" for x in s.profit] for s in scores]),
    ):
        print(f"needle: {title}, by depth (%)")
        print(f"{'tokens':>12}" + "".join(f"{depth:>7}" for depth in DEPTHS))
        for score, cells in zip(scores, rows, strict=True):
            print(f"{score.length:>12,}" + "".join(f"{cell:>7}" for cell in cells))
    chance = ", ".join(f"{score.accuracy_without:.0%}" for score in scores)
    print(f"without the needle the value is first in {chance} (chance 1.0%)")
    return scores
