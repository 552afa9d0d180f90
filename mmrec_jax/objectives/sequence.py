"""Contrastive objective over sequences: a prefix must know its own continuation (InfoNCE).

    mean of -log( exp s(t, c_0) / sum_i exp s(t, c_i) ),    s(t, c) = mean over y in c of l_t[y]

c_0 are the n tokens that follow the prefix that ends at t, c_1 .. c_k are continuations of other
rows of the batch, and l_t = head(x_t + x_t W) are logits of the hidden state x_t after the prefix:
in which order the continuation goes on does not count, what it is about does. W [D, D] is used in
training alone. Negatives are tokens, drawn from the whole batch before it is cut into microbatches.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Output, State
from mmrec_jax.models.logits import by_chunks
from mmrec_jax.objectives.api import LOSS, Batch, Objective, Params, Reread
from mmrec_jax.objectives.config import ObjectiveConfig, Weight, weight_setting
from mmrec_jax.settings import at_least, setting
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class SequenceConfig(ObjectiveConfig):
    """Telling the continuation of a prefix from those of other rows."""

    group = "objectives.sequence"
    of_text = True

    weight: Weight = weight_setting(0.1)
    prefixes: int = setting(8, "prefixes of each row, ending where chance has it", at_least(1))
    tokens: int = setting(32, "tokens of a continuation", at_least(1))
    negatives: int = setting(7, "other rows whose continuations stand beside it", at_least(1))

    def build(self, model: LanguageModel, tokenizer: Tokenizer) -> "Sequence":
        """See `ObjectiveConfig.build`."""
        return Sequence(self)


class Sequence(Objective):
    """The objective of any model."""

    def init(self, key: Array, model: LanguageModel) -> Params:
        """W, zero: at the start the prefix is scored by its prediction of the next token."""

        def hidden(key: Array) -> Array:
            return model.apply(model.init(key), jnp.zeros((1, 2), jnp.int32)).hidden

        width = jax.eval_shape(hidden, key).shape[-1]
        return {"kernel": jnp.zeros((width, width))}

    def draw(
        self, key: Array, model: LanguageModel, batch: Batch, state: State
    ) -> dict[str, Array]:
        """`prefix` [B, P]: where prefixes end; `candidates` [B, P, 1 + k, n], the true one first.

        `valid` [B, P, 1 + k]: whether there is such a candidate, whole and of one document.

        Raises:
          UserError: the batch has one row, or rows too short to continue.
        """
        config, (rows, length) = self.config, batch["inputs"].shape
        if rows == 1 or length <= config.tokens:
            raise UserError(
                f"config.objectives.sequence needs several rows of more than its {config.tokens} "
                f"tokens, and a batch has {rows} of {length}; change config.train.batch_size or "
                "objectives.sequence.tokens, or leave it out"
            )
        place, others = jax.random.split(key)
        ends = length - config.tokens  # prefixes end before that
        following = jnp.cumsum(model.continues(batch["segment_ids"], state), axis=1)
        whole = following[:, config.tokens :] - following[:, :ends] == config.tokens
        order = jnp.where(whole, jax.random.uniform(place, whole.shape), -1)
        chosen, prefix = jax.lax.top_k(order, min(config.prefixes, ends))
        at = prefix[..., None] + 1 + jnp.arange(config.tokens)[None, None]
        own = batch["inputs"][jnp.arange(rows)[:, None, None], at]
        shifts = 1 + jax.random.permutation(others, rows - 1)[: config.negatives]
        row = (jnp.arange(rows)[:, None] + jnp.append(0, shifts)[None]) % rows  # [B, 1 + k]
        return {
            "prefix": prefix,
            "candidates": own[row].swapaxes(1, 2),
            "valid": (chosen >= 0)[row].swapaxes(1, 2),
        }

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """Prefixes with a continuation and another one to tell it from."""
        return jnp.maximum(jnp.sum(_asked(batch["valid"])), 1)

    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """The loss, and how often the true continuation scores highest."""
        hidden = jnp.take_along_axis(output.hidden, batch["prefix"][..., None], axis=1)
        kernel = params["kernel"].astype(hidden.dtype)
        scored = output._replace(hidden=hidden + hidden @ kernel)
        loss, right = by_chunks(_contrast, scored, batch["candidates"], batch["valid"])
        return {LOSS: loss, "right": jnp.sum(right)}

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """`sequence`, at chance ln(1 + k), and `sequence_accuracy`."""
        return {"sequence": sums[LOSS] / count, "sequence_accuracy": sums["right"] / count}


def _asked(valid: Array) -> Array:
    return valid[..., 0] & jnp.any(valid[..., 1:], axis=-1)


def _contrast(logits: Array, candidates: Array, valid: Array) -> tuple[Array, Any]:
    """InfoNCE of prefixes [B, P], and which of them score their own continuation highest."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    chosen = jnp.take_along_axis(logits, candidates.reshape(*logits.shape[:2], -1), axis=-1)
    scores = jnp.mean(chosen.reshape(candidates.shape), axis=-1)
    asked = _asked(valid)
    # Where nothing is asked all count alike, so that no gradient is NaN.
    scores = jnp.where(valid | ~asked[..., None], scores, -jnp.inf)
    loss = jax.nn.logsumexp(scores, axis=-1) - scores[..., 0]
    right = asked & (jnp.argmax(scores, axis=-1) == 0)
    return jnp.sum(jnp.where(asked, loss, 0)), right
