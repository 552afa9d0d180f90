"""What is recalled: associative recall (`mqar.py`) and a needle in a text (`needle.py`)."""

import dataclasses
import re
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.curves import Curve, Panel
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.mqar import RecallScore, score_recall
from mmrec_jax.evaluation.needle import LEAD, NeedleScore, score_needle
from mmrec_jax.evaluation.registry import Evaluation, EvaluationRequest
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.tree import num_bytes

_PAIRS = (1, 2, 4, 8, 16, 32, 64)
_SPECIAL = re.compile(r"<.+>", re.DOTALL)  # `Tokenizer.id_to_piece`: special ids and single bytes


def recall(
    request: EvaluationRequest,
    *,
    lengths: Sequence[int] = (256, 1024, 4096, 16384),
    samples: int = 16,
    sequences: int = 256,
    seed: int = 0,
) -> Evaluation:
    """Asks `sequences` of each number of pairs, and for a needle `lengths` tokens back.

    Any model can be asked; without training for it, MQAR is near chance. The needle stands in
    `samples` texts of the validation split, all documents end to end; a task has none.

    Returns:
      Of each length n `needle_gain@n`, nats, and of each number of pairs n `mqar_accuracy@n`.

    Raises:
      UserError: a length is too short for a needle, or the vocabulary too small for two pairs.
    """
    if min(lengths) < LEAD:
        raise UserError(f"--lengths has {min(lengths)}; each must be at least {LEAD}")
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
        fitting = [length for length in lengths if LEAD + length <= len(filler)]
        if len(fitting) < len(lengths):
            left_out = ", ".join(f"{each:,}" for each in lengths if each not in fitting)
            lines.append(
                f"needle: {request.source} has {len(filler):,} tokens, too few for a needle "
                f"{left_out} tokens back; give longer text with --data=FILE"
            )
        rows = request.config.train.batch_size
        sizes: dict[str, int] = {"samples": samples, "rows": rows, "seed": seed}
        try:
            needle = score_needle(model, params, filler, tokenizer, fitting, **sizes)
        except UserError as error:
            lines.append(f"needle: left out, the tokenizer cannot spell it: {error}")
        lines += _needle_table(needle)
    metrics = {f"needle_gain@{score.distance}": score.gain for score in needle}
    metrics |= {f"mqar_accuracy@{score.pairs}": score.accuracy for score in found}
    return Evaluation(
        metrics=metrics,
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
    lines = [f"{'needle, tokens back':>20} {'nats':>8} {'chance':>8} {'gain':>16}"]
    for score in scores:
        error = "" if score.error is None else f" ±{score.error:.3f}"
        gain = f"{score.gain:+.3f}{error}"
        lines.append(f"{score.distance:>20,} {score.nats:>8.3f} {score.chance:>8.3f} {gain:>16}")
    explained = "nats: of a name and a number that come again; chance: after others; ± over texts"
    return [*lines, explained] if scores else []


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


def recall_panels(recall: Sequence[RecallScore], needle: Sequence[NeedleScore]) -> list[Panel]:
    """MQAR accuracy against the number of pairs; the needle by its distance, if measured."""
    pairs = [score.pairs for score in recall]
    errors = [score.error or 0.0 for score in recall]
    mqar = {
        "model": (pairs, [score.accuracy for score in recall], errors),
        "chance": (pairs, [score.chance for score in recall], None),
    }
    panels = [Panel("pairs", "MQAR: accuracy", mqar, share=True)]
    if needle:
        back = [score.distance for score in needle]
        gains = [score.gain for score in needle], [score.error or 0.0 for score in needle]
        curve: Curve = back, *gains
        panels.append(Panel("tokens back", "needle: gain (nats)", {"second occurrence": curve}))
    return panels
