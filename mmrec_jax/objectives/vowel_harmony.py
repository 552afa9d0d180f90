"""The `vowel_harmony` objective: how often the next token would break vowel harmony.

At each position where the current word already has a vowel, of class c,

    sum of p(v) over the tokens v that go on with a vowel that breaks harmony after c
    / sum of p(v) over the tokens v that go on with a vowel that is judged

that is, P(next token breaks harmony | next token is a suffix with a whole first vowel). Since it is
divided by what goes on, ending words early does not lower it; the probability of going on is
reported beside it. Positions whose target itself breaks harmony are not counted: roots (`kitap`)
and loans are as they are.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.models.api import LanguageModel, Output, State
from mmrec_jax.models.logits import by_chunks
from mmrec_jax.objectives.api import LOSS, Batch, Objective, Params, Reread
from mmrec_jax.objectives.config import ObjectiveConfig, Weight, weight_setting
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.turkish.vowel_table import VowelTable, broken_classes, vowel_table
from mmrec_jax.typing import Array, Bool, Float, Int, typed


@dataclasses.dataclass(frozen=True)
class VowelHarmonyConfig(ObjectiveConfig):
    """The probability that the next token breaks vowel harmony (Turkish)."""

    group = "objectives.vowel_harmony"
    of_text = True

    weight: Weight = weight_setting(0.3)

    def build(self, model: LanguageModel, tokenizer: Tokenizer) -> "VowelHarmony":
        """See `ObjectiveConfig.build`."""
        return VowelHarmony(self, vowel_table(tokenizer), model.config.vocab_size)


class VowelHarmony(Objective):
    """The objective for one vocabulary."""

    def __init__(self, config: VowelHarmonyConfig, table: VowelTable, vocab_size: int) -> None:
        """`vocab_size`: V of the logits; ids from the table's length on are padding."""
        super().__init__(config)
        padding = (0, vocab_size - len(table.first))
        columns = (table.continues, table.first, table.sets, table.last)
        self._continues, self._first, self._sets, self._last = (
            np.pad(column, padding) for column in columns
        )
        self._broken = broken_classes()

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """Where the objective is taken, which depends on the tokens alone."""
        return jnp.maximum(jnp.sum(self._counted(batch)[0]), 1)

    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """See `Objective.sums`."""
        loss, values, _ = self._measured(output, batch)
        return {LOSS: loss, "word_continuing": jnp.sum(values["word_continuing"])}

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """`vowel_harmony` and `word_continuing`, means over where it is taken."""
        harmony, continuing = sums[LOSS] / count, sums["word_continuing"] / count
        return {"vowel_harmony": harmony, "word_continuing": continuing}

    def _counted(self, batch: Batch) -> tuple[Array, Array]:
        """Where the objective is taken, bool [B, T], and the class of the last vowel, int32 [B, T].

        In a word with a vowel whose target has weight and keeps harmony.
        """
        inputs = batch["inputs"]
        sets, last = jnp.asarray(self._sets)[inputs], jnp.asarray(self._last)[inputs]
        classes = last_vowel_classes(sets, last, batch["segment_ids"])
        target = jnp.asarray(self._first)[batch["targets"]]
        broken = jnp.asarray(self._broken)[classes, target]
        return (classes > 0) & ~broken & (batch["weights"] > 0), classes

    def positions(self, output: Output, batch: Batch) -> dict[str, tuple[Array, Array]]:
        """What the model says at every position, float32; 0 where not counted.

        `vowel_harmony` is the objective, `word_continuing` the probability that the word goes on,
        without a gradient.
        """
        _, values, counted = self._measured(output, batch)
        return {name: (value, counted) for name, value in values.items()}

    def _measured(self, output: Output, batch: Batch) -> tuple[Array, dict[str, Array], Array]:
        """The sum of the objective, the values at every position, and where they count."""
        counted, classes = self._counted(batch)

        def measure(logits: Array, classes: Array, counted: Array) -> tuple[Array, Any]:
            logits = logits.astype(jnp.float32)
            first, broken = jnp.asarray(self._first), jnp.asarray(self._broken)
            share = jnp.where(counted, broken_share(logits, classes, first, broken), 0)
            p = jax.nn.softmax(jax.lax.stop_gradient(logits))
            mass = jnp.where(counted, p @ self._continues.astype(np.float32), 0)
            return jnp.sum(share), {"vowel_harmony": share, "word_continuing": mass}

        loss, values = by_chunks(measure, output, classes, counted)
        return loss, values, counted


@typed
def last_vowel_classes(
    sets: Bool[Array, "B T"], last: Int[Array, "B T"], segment_ids: Int[Array, "B T"]
) -> Int[Array, "B T"]:
    """The class of the last vowel of the current word after each token, 0 where there is none.

    Each token either sets the class or keeps it, so the class at t is that of the last token up to
    t, in the same segment, that sets it: a running maximum of positions, parallel over time.
    """
    positions = jnp.arange(sets.shape[1])
    begins = segment_ids != jnp.roll(segment_ids, 1, axis=1)
    begins = begins.at[:, 0].set(True)
    # The first token of a segment sets the class whether it has a vowel or not.
    latest = jax.lax.cummax(jnp.where(sets | begins, positions, 0), axis=1)
    return jnp.take_along_axis(jnp.where(sets, last, 0), latest, axis=1)


@typed
def broken_share(
    logits: Float[Array, "B T V"],
    classes: Int[Array, "B T"],
    first: Int[Array, "V"],
    broken: Bool[Array, "I J"],
) -> Float[Array, "B T"]:
    """The objective at every position, in [0, 1]; 0 where no token of the vocabulary is judged.

    `classes` are those of the last vowel, `first` those of each token's first one (0: not judged),
    and `broken` says whether class j breaks harmony after class i.
    """
    judged = first > 0
    # A share of the judged tokens alone: whatever their total mass, nothing underflows.
    top = jnp.max(jnp.where(judged, logits, -jnp.inf), axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    mass = jnp.where(judged, jnp.exp(jnp.where(judged, logits - top, 0)), 0)
    by_class = mass @ jax.nn.one_hot(first, broken.shape[1])
    bad = jnp.sum(by_class * broken[classes], axis=-1)
    total = jnp.sum(by_class, axis=-1)
    return bad / jnp.where(total > 0, total, 1)
