"""Memory consistency: what was written into the long-term memory must be readable later.

    mean of || M_{t+d}^T k_t - v_t ||^2

over layers, memories and sampled (t, d): each token t + d asks for one earlier token t of its
document, drawn uniformly from the last `reach` of them. Values are constants to the gradient, those
inside M, too: otherwise to shrink them would lower the loss. What is trained is what is written,
under which keys, and what is forgotten.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Output, Probe, State
from mmrec_jax.objectives.api import LOSS, Batch, Objective, Params, Reread
from mmrec_jax.objectives.config import ObjectiveConfig, Weight, weight_setting
from mmrec_jax.settings import at_least, setting
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class MemoryConsistencyConfig(ObjectiveConfig):
    """The error of reading a value of the long-term memory back by its key, some tokens later."""

    group = "objectives.memory_consistency"

    weight: Weight = weight_setting(0.1)
    reach: int = setting(256, "the most tokens between a write and its reading", at_least(1))

    def build(self, model: LanguageModel, tokenizer: Tokenizer) -> "MemoryConsistency":
        """See `ObjectiveConfig.build`."""
        return MemoryConsistency(self)


class MemoryConsistency(Objective):
    """The objective of any model whose long-term memory can be probed."""

    def init(self, key: Array, model: LanguageModel) -> Params:
        """No parameters.

        Raises:
          UserError: the model has no long-term memory to ask.
        """

        if "recall" not in model.probeable:
            raise UserError(
                "config.objectives.memory_consistency: this model has no long-term memory of keys "
                "and values; leave the objective out"
            )
        return {}

    def draw(
        self, key: Array, model: LanguageModel, batch: Batch, state: State
    ) -> dict[str, Array]:
        """`back` [B, T]: how far before it the token is that each one asks for, 0 where none is."""
        continues = model.continues(batch["segment_ids"], state)
        now = jnp.arange(continues.shape[1])[None]
        before = now - jax.lax.cummax(jnp.where(continues, 0, now), axis=1)
        most = jnp.minimum(before, self.config.reach)
        distance = jax.random.randint(key, continues.shape, 0, jnp.maximum(most, 1)) + 1
        return {"back": jnp.where(continues & (before > 0), distance, 0)}

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """Tokens that ask."""
        return jnp.maximum(jnp.sum(batch["back"] > 0), 1)

    def probe(self, params: Params, batch: Batch, continues: Array) -> Probe:
        """See `Objective.probe`."""
        return Probe({}, {"back": batch["back"]}, "recall", _sums, self.config.reach)

    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """The loss, and the same sum of a memory that answers nothing."""
        return {name: jnp.mean(each) for name, each in output.captured.items()}

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """`memory_consistency`, and `memory_consistency_skill`: 1 if all is read, 0 if nothing."""
        tiny = jnp.finfo(jnp.float32).tiny
        return {
            "memory_consistency": sums[LOSS] / count,
            "memory_consistency_skill": 1 - sums[LOSS] / jnp.maximum(sums["empty"], tiny),
        }


def _sums(params: Params, inside: dict[str, Array], rows: dict[str, Array]) -> dict[str, Array]:
    """Of one layer, means over memories."""
    reads, values = inside["reads"], inside["values"]
    asked = rows["back"][..., None] > 0

    def squares(x: Array) -> Array:
        return jnp.sum(jnp.where(asked, jnp.sum(jnp.square(x), axis=-1), 0)) / x.shape[2]

    return {LOSS: squares(reads - values), "empty": squares(values)}
