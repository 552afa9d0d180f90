"""A needle in a text: is what was read once, long ago, still known?

A needle is a name and a number, ` Kemirato 48213.`; it stands in a text and again a distance later.
What it saves is the nats that its second occurrence costs less than in the same text with another
needle in the first place: to have seen some needle helps with the form, and that is chance.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.chunks import Window
from mmrec_jax.data.packing import batch_of, segments_row
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.evaluation.perplexity import long_rows_nll
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.tokenizers.tokenizer import Tokenizer

LEAD = 64  # tokens of text before the first needle
Drawn = tuple[list[NDArray[np.int32]], int]  # two texts, and tokens of the needle at their ends
_SYLLABLES = [a + b for a in "bdfgklmnprstvyz" for b in "aeiou"]


@dataclasses.dataclass(frozen=True)
class NeedleScore:
    """All texts of one distance; means of whole needles, over texts."""

    distance: int  # tokens from the beginning of the first needle to that of the second
    samples: int
    nats: float  # of the second occurrence
    chance: float  # the same after another needle
    gain: float  # chance - nats
    error: float | None  # the standard error of `gain`; None of a single text


def score_needle(
    model: LanguageModel,
    params: Params,
    filler: NDArray[np.int32],
    tokenizer: Tokenizer,
    distances: Sequence[int],
    *,
    samples: int,
    rows: int = 8,
    seed: int = 0,
) -> list[NeedleScore]:
    """Reads `samples` texts of each distance twice, `rows` side by side.

    They are cut from `filler`, which has `LEAD` tokens more than the longest distance. `params` are
    on one device.

    Raises:
      UserError: the tokenizer cannot spell a name or a number.
    """
    scores, pairs = [], max(1, rows // 2)
    for distance in distances:
        drawn = []
        for sample in range(samples):
            rng = np.random.default_rng(hashed_seed("needle", seed, distance, sample))
            drawn.append(draw_texts(rng, filler, tokenizer, distance))
        nats = np.concatenate(
            [
                _second_occurrences(model, params, drawn[first : first + pairs])
                for first in range(0, samples, pairs)
            ]
        )
        gain = nats[:, 1] - nats[:, 0]
        scores.append(
            NeedleScore(
                distance=distance,
                samples=samples,
                nats=float(nats[:, 0].mean()),
                chance=float(nats[:, 1].mean()),
                gain=float(gain.mean()),
                error=float(gain.std(ddof=1) / samples**0.5) if samples > 1 else None,
            )
        )
    return scores


def _second_occurrences(
    model: LanguageModel, params: Params, drawn: Sequence[Drawn]
) -> NDArray[np.float64]:
    """Nats of the last needle of each text, [pairs, 2]."""
    windows = [Window(text) for texts, _ in drawn for text in texts]
    width = max(window.length for window in windows)
    batch = batch_of([segments_row([window], width) for window in windows])
    nll, nats = long_rows_nll(model, params, batch), []
    for row, window, size in zip(nll, windows, np.repeat([n for _, n in drawn], 2), strict=True):
        nats.append(row[window.length - size : window.length].sum())
    return np.reshape(nats, (-1, 2))


def draw_texts(
    rng: np.random.Generator, filler: NDArray[np.int32], tokenizer: Tokenizer, distance: int
) -> Drawn:
    """Two texts that end with the same needle, and how many tokens it has.

    The first one has it `distance` tokens before, too; the second one has another one there.
    """
    needles = [tokenizer.encode(_needle(rng), continues=True) for _ in range(2)]
    start = rng.integers(0, len(filler) - LEAD - distance + 1)
    lead, rest = np.split(filler[start : start + LEAD + distance], [LEAD])
    texts = [
        np.concatenate([[tokenizer.bos_id], lead, first, rest[: distance - len(first)], needles[0]])
        for first in needles
    ]
    return [text.astype(np.int32) for text in texts], len(needles[0])


def _needle(rng: np.random.Generator) -> str:
    name = "".join(rng.choice(_SYLLABLES, 4)).capitalize()
    return f" {name} {rng.integers(10_000, 100_000)}."
