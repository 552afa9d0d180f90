"""The `vowel_harmony` objective: how often the next piece would break vowel harmony.

At each place where the current word already has a vowel, of class c,

    sum of p(v) over the pieces v that go on with a vowel that breaks harmony after c
    / sum of p(v) over the pieces v that go on with a vowel that is judged

that is, P(next piece breaks harmony | next piece is a suffix piece with a whole first vowel). Since
it is divided by what goes on, ending words early does not lower it; the probability of going on is
reported beside it. Places whose target itself breaks harmony are not counted: roots (`kitap`) and
loans are as they are.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.turkish.vowel_table import VowelTable, broken_classes
from mmrec_jax.typing import Array, Bool, Float, Int, typed


class HarmonyObjective:
    """The objective for one vocabulary, and its weight in the loss."""

    def __init__(self, table: VowelTable, vocab_size: int, weight: float) -> None:
        """`vocab_size`: V of the logits; ids from the table's length on are padding."""
        padding = (0, vocab_size - len(table.first))
        self.weight = weight
        self._continues = np.pad(table.continues, padding)
        self._first = np.pad(table.first, padding)
        self._sets = np.pad(table.sets, padding)
        self._last = np.pad(table.last, padding)
        self._broken = broken_classes()

    def counted(self, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        """Where the objective is taken, which depends on the tokens alone.

        Args:
          batch: as `data/batch.py` has it.

        Returns:
          bool [B, T], and int32 [B, T], the class of the last vowel of the current word. Counted
          are places in a word with a vowel whose target has weight and keeps harmony.
        """
        inputs = batch["inputs"]
        sets, last = jnp.asarray(self._sets)[inputs], jnp.asarray(self._last)[inputs]
        classes = last_vowel_classes(sets, last, batch["segment_ids"])
        target = jnp.asarray(self._first)[batch["targets"]]
        broken = jnp.asarray(self._broken)[classes, target]
        return (classes > 0) & ~broken & (batch["weights"] > 0), classes

    def places(self, logits: Array, batch: Mapping[str, Array]) -> dict[str, Array]:
        """What the model says at every place, [B, T] each.

        Args:
          logits: [B, T, V], of the next token.
          batch: as `data/batch.py` has it.

        Returns:
          `counted`, bool; and, 0 where not counted, float32: `vowel_harmony`, the objective, and
          `word_continuing`, the probability that the word goes on, without a gradient.
        """
        counted, classes = self.counted(batch)
        logits = logits.astype(jnp.float32)
        share = broken_share(logits, classes, jnp.asarray(self._first), jnp.asarray(self._broken))
        mass = jax.nn.softmax(jax.lax.stop_gradient(logits)) @ self._continues.astype(np.float32)
        return {
            "counted": counted,
            "vowel_harmony": jnp.where(counted, share, 0),
            "word_continuing": jnp.where(counted, mass, 0),
        }


@typed
def last_vowel_classes(
    sets: Bool[Array, "B T"], last: Int[Array, "B T"], segment_ids: Int[Array, "B T"]
) -> Int[Array, "B T"]:
    """The class of the last vowel of the current word after each token, 0 where there is none.

    Each token either sets the class or keeps it, so the class at t is that of the last token up to
    t, in the same segment, that sets it: a running maximum of places, parallel over time.
    """
    places = jnp.arange(sets.shape[1])
    begins = segment_ids != jnp.roll(segment_ids, 1, axis=1)
    begins = begins.at[:, 0].set(True)
    # The first token of a segment sets the class whether it has a vowel or not.
    latest = jax.lax.cummax(jnp.where(sets | begins, places, 0), axis=1)
    return jnp.take_along_axis(jnp.where(sets, last, 0), latest, axis=1)


@typed
def broken_share(
    logits: Float[Array, "B T V"],
    classes: Int[Array, "B T"],
    first: Int[Array, "V"],
    broken: Bool[Array, "I J"],
) -> Float[Array, "B T"]:
    """The objective at every place.

    Args:
      logits: of the next token.
      classes: of the last vowel.
      first: of each piece's first vowel; 0: not judged.
      broken: whether class j breaks harmony after class i.

    Returns:
      In [0, 1]; 0 where no piece of the vocabulary is judged.
    """
    judged = first > 0
    # A share of the judged pieces alone: whatever their total mass, nothing underflows.
    top = jnp.max(jnp.where(judged, logits, -jnp.inf), axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    mass = jnp.where(judged, jnp.exp(jnp.where(judged, logits - top, 0)), 0)
    by_class = mass @ jax.nn.one_hot(first, broken.shape[1])
    bad = jnp.sum(by_class * broken[classes], axis=-1)
    total = jnp.sum(by_class, axis=-1)
    return bad / jnp.where(total > 0, total, 1)
