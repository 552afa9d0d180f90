"""What is recalled: associative recall (`mqar.py`) and a needle in a haystack (`needle.py`)."""

import dataclasses
import re
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.curves import Curve, Panel
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.mqar import RecallScore, score_recall
from mmrec_jax.evaluation.needle import DEPTHS, FEWEST_IDS, SHORTEST, NeedleScore, score_needle
from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import num_bytes

_PAIRS = (1, 2, 4, 8, 16, 32, 64)
_SPECIAL = re.compile(r"<.+>", re.DOTALL)  # `Tokenizer.id_to_piece`: special ids and single bytes


def recall(
    request: EvaluationRequest,
    *,
    lengths: Sequence[int] = (256, 1024, 4096, 16384),
    samples: int = 4,
    sequences: int = 256,
    seed: int = 0,
) -> Evaluation:
    """Asks `sequences` of each number of pairs, and for a needle in `samples` texts of `lengths`.

    Any model can be asked; without training for it, MQAR is near chance. The needle's text is the
    validation split, all documents end to end; a task has none.

    Raises:
      UserError: a length is too short for a needle, or the vocabulary too small for two pairs.
    """
    if min(lengths) < SHORTEST:
        raise UserError(f"--lengths has {min(lengths)}; each must be at least {SHORTEST}")
    model, params, store = request.model, request.params, request.data.validation
    tokenizer = request.data.tokenizer
    ids = ordinary_ids(tokenizer)
    if len(ids) < 4:
        raise UserError(f"the vocabulary has {len(ids)} ordinary tokens; two pairs take 4")
    size = num_bytes(jax.eval_shape(lambda: model.initial_state(1)))
    state = f"state: {size:,} bytes, whatever the length" if size else "no state: the text is kept"
    lines = [state]
    pairs = [count for count in _PAIRS if count <= len(ids) // 2]
    if len(pairs) < len(_PAIRS):
        lines.append(
            f"MQAR: {len(ids)} ordinary tokens are enough for {pairs[-1]} pairs and no more"
        )
    # In the examples of a task nothing stands before the first symbol.
    begin_id = None if store is None else tokenizer.bos_id
    found = score_recall(
        model, params, ids, pairs, begin_id=begin_id, sequences=sequences, seed=seed
    )
    lines += _recall_table(found)
    needle: list[NeedleScore] = []
    if store is None:
        source = request.config.data.source
        lines.append(f'needle: left out, the task "{source}" has no text to hide it in')
    else:
        inside = np.ones(len(store.tokens), bool)
        inside[store.offsets[:-1]] = inside[store.offsets[1:] - 1] = False
        filler = store.tokens[inside]  # without the tokens that begin and end documents
        rare = rare_ids(ids, filler)
        fitting = [length for length in lengths if length <= len(filler)]
        if len(rare) < FEWEST_IDS:
            lines.append(
                f"needle: left out, {request.source} has only {len(rare)} rare tokens to make it of"
            )
            fitting = []
        elif len(fitting) < len(lengths):
            left_out = ", ".join(f"{length:,}" for length in lengths if length > len(filler))
            lines.append(
                f"needle: {request.source} has {len(filler):,} tokens, too few for texts of "
                f"{left_out}; give longer text with --data=FILE"
            )
        if fitting:
            needle = score_needle(
                model,
                params,
                filler,
                rare,
                fitting,
                begin_id=tokenizer.bos_id,
                samples=samples,
                seed=seed,
            )
            lines += _needle_table(needle)
    return Evaluation(
        text="\n".join(lines),
        record={
            "seed": seed,
            "state_bytes": size,
            "mqar": [dataclasses.asdict(score) for score in found],
            "needle": [dataclasses.asdict(score) for score in needle],
        },
        panels=recall_panels(found, needle),
        title=state,
    )


def _recall_table(scores: Sequence[RecallScore]) -> list[str]:
    lines = [f"{'MQAR pairs':>12} {'accuracy':>16} {'chance':>8} {'right value':>12} {'others':>8}"]
    for score in scores:
        error = "" if score.error is None else f" ±{score.error:.2%}"
        others = "" if score.other_nll is None else f"{score.other_nll:.3f}"
        lines.append(
            f"{score.pairs:>12} {f'{score.accuracy:.2%}{error}':>16} {score.chance:>8.2%} "
            f"{score.right_nll:>12.3f} {others:>8}"
        )
    return [*lines, "accuracy: among the sequence's own values; right value, others: mean nats"]


def _needle_table(scores: Sequence[NeedleScore]) -> list[str]:
    lines = []
    for title, rows in (
        ("value is first of 101", [[f"{x:.0%}" for x in s.accuracy] for s in scores]),
        ("profit, nats/token", [[f"{x:+.2f}" for x in s.profit] for s in scores]),
    ):
        lines.append(f"needle: {title}, by depth (%)")
        lines.append(f"{'tokens':>12}" + "".join(f"{depth:>7}" for depth in DEPTHS))
        for score, cells in zip(scores, rows, strict=True):
            lines.append(f"{score.length:>12,}" + "".join(f"{cell:>7}" for cell in cells))
    chance = ", ".join(f"{score.accuracy_without:.0%}" for score in scores)
    return [*lines, f"without the needle the value is first in {chance} (chance 1.0%)"]


def ordinary_ids(tokenizer: Tokenizer) -> NDArray[np.int32]:
    """The ids that stand for whole characters, ascending: no special id, no byte of a character."""
    ids = [
        index
        for index in range(tokenizer.vocab_size)
        if index not in (tokenizer.bos_id, tokenizer.eos_id)
        and not _SPECIAL.fullmatch(tokenizer.id_to_piece(index))
        and (text := tokenizer.decode([index]))
        and "\N{REPLACEMENT CHARACTER}" not in text
    ]
    return np.asarray(ids, np.int32)


def rare_ids(ordinary: NDArray[np.int32], text: NDArray[np.int32]) -> NDArray[np.int32]:
    """The rarer half, ascending, of the ordinary ids that occur in `text`.

    An id that never occurs may never have been trained; a common one would stand in the text by
    chance.
    """
    counts = np.bincount(text, minlength=int(ordinary.max(initial=0)) + 1)[ordinary]
    by_count = ordinary[np.argsort(counts, kind="stable")]
    occurring = by_count[np.count_nonzero(counts == 0) :]
    return np.sort(occurring[: -(-len(occurring) // 2)])


def recall_panels(recall: Sequence[RecallScore], needle: Sequence[NeedleScore]) -> list[Panel]:
    """MQAR accuracy against the number of pairs; the needle by depth and length, if measured."""
    pairs = [score.pairs for score in recall]
    errors = [score.error or 0.0 for score in recall]
    mqar = {
        "model": (pairs, [score.accuracy for score in recall], errors),
        "chance": (pairs, [score.chance for score in recall], None),
    }
    panels = [Panel("pairs", "MQAR: accuracy", mqar, share=True)]
    if needle:
        x = "depth of the needle (% of the text)"
        accuracy: dict[str, Curve] = {}
        profit: dict[str, Curve] = {}
        for score in needle:
            label = f"{score.length:,} tokens"
            accuracy[label] = DEPTHS, score.accuracy, None
            profit[label] = DEPTHS, score.profit, [error or 0.0 for error in score.error]
        panels += [
            Panel(x, "needle: value is first of 101", accuracy, octaves=False, share=True),
            Panel(x, "needle: profit (nats/token)", profit, octaves=False),
        ]
    return panels
