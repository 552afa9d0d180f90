"""LongCE: tokens that need a far context count more (arXiv 2410.23771).

    mean of w_t CE_t,    w_t = min(exp(CE_short,t - CE_t), cap), a constant to the gradient

CE_short is the loss of the same token where the state is reset every n tokens of the row. It costs
a second forward pass, with the same dropout and without a backward one: 23 % more processor time a
step of `configs/tiny.py`, and no memory.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel, Output, State
from mmrec_jax.models.logits import by_chunks, counted_alone
from mmrec_jax.objectives.api import LOSS, Batch, Params, Reread
from mmrec_jax.objectives.config import ObjectiveConfig
from mmrec_jax.objectives.cross_entropy import CrossEntropy, token_nll
from mmrec_jax.settings import at_least, setting
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.typing import Array, Bool, Int


@dataclasses.dataclass(frozen=True)
class LongRangeConfig(ObjectiveConfig):
    """The cross-entropy, of which tokens that need far context make up more (LongCE)."""

    group = "objectives.long_range"

    reset_every: int = setting(
        256, "tokens of a row that the short pass reads before its state is reset", at_least(1)
    )
    cap: float = setting(5.0, "the most that one token weighs", at_least(1.0))

    def build(self, model: LanguageModel, tokenizer: Tokenizer) -> "LongRange":
        """See `ObjectiveConfig.build`."""
        return LongRange(self)


class LongRange(CrossEntropy):
    """The objective of any model; `long_range_gain` is what the short pass lacks."""

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """The weights of the whole batch, as of the cross-entropy.

        Raises:
          UserError: no row is long enough to be reset.
        """
        length = batch["inputs"].shape[1]
        expected = f"below config.data.seq_len: in rows of {length} tokens nothing is reset"
        resets = state is not None or length > self.config.reset_every
        self.config.require(resets, "reset_every", expected)
        return super().count(model, batch, state)

    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """The loss and, for `metrics`, the sums of the weights and of what is gained."""
        targets, weights = batch["targets"], batch["weights"]
        short = reread(reset_segments(batch["segment_ids"], continues, self.config.reset_every))
        _, short_nll = by_chunks(_nll, short, targets)

        def weighted(
            logits: Array, targets: Array, weights: Array, short_nll: Array
        ) -> tuple[Array, Any]:
            nll = token_nll(logits, targets)
            gain = jax.lax.stop_gradient(short_nll - nll)
            factor = jnp.exp(jnp.minimum(gain, math.log(self.config.cap)))
            counted = weights > 0
            loss = jnp.sum(jnp.where(counted, weights * factor * nll, 0))
            beside = {"weight": factor, "gain": gain}
            return loss, {k: jnp.where(counted, weights * x, 0) for k, x in beside.items()}

        full = counted_alone(output, weights > 0)
        loss, beside = by_chunks(weighted, full, targets, weights, short_nll)
        return {LOSS: loss, **{name: jnp.sum(values) for name, values in beside.items()}}

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """`long_range`, `long_range_weight` (mean w_t) and `long_range_gain` (nats/token)."""
        return {
            "long_range": sums[LOSS] / count,
            "long_range_weight": sums["weight"] / count,
            "long_range_gain": sums["gain"] / count,
        }


def reset_segments(
    segment_ids: Int[Array, "B T"], continues: Bool[Array, "B T"], every: int
) -> Int[Array, "B T"]:
    """Segment ids of documents that end where those of the row do, and every so many tokens."""
    real = segment_ids > 0
    begun = jnp.cumsum(real & ~continues, axis=1, dtype=jnp.int32)
    blocks = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)[None] // every
    return jnp.where(real, 1 + begun + blocks, 0)


def _nll(logits: Array, targets: Array) -> tuple[Array, Array]:
    return jnp.zeros(()), token_nll(logits, targets)
