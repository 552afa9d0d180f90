"""Cross-entropy of the next token."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel, Output, State
from mmrec_jax.models.logits import by_chunks, counted_alone
from mmrec_jax.objectives.api import LOSS, Batch, Objective, Params, Reread
from mmrec_jax.typing import Array, Float, Int, typed


@typed
def token_nll(logits: Float[Array, "B T V"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """`-log p(target)` of every token in nats, in float32 at least."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    target_logit = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - target_logit


@typed
def weighted_nll(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], weights: Float[Array, "B T"]
) -> Float[Array, ""]:
    """Sum of `weight * -log p(target)` in nats, in float32 at least.

    A sum, not a mean: means of parts with different total weights do not add up to the whole.
    """
    # Chosen, not multiplied by 0: whatever stands at padding, it does not count.
    return jnp.sum(jnp.where(weights > 0, weights * token_nll(logits, targets), 0))


def output_nll(
    output: Output, targets: Array, weights: Array, chunk: int | None = None
) -> Float[Array, ""]:
    """`weighted_nll` of a model's output, by chunks (`models.logits.by_chunks`)."""

    def nll(logits: Array, targets: Array, weights: Array) -> tuple[Array, None]:
        return weighted_nll(logits, targets, weights), None

    return by_chunks(nll, counted_alone(output, weights > 0), targets, weights, chunk=chunk)[0]


class CrossEntropy(Objective):
    """The mean over targets by weight; reported as `loss`, in nats/token.

    It has no `positions`: every evaluation has it as it is.
    """

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """The weights of the whole batch; a batch in which nothing counts has loss 0."""
        weight = jnp.sum(batch["weights"])
        return jnp.where(weight > 0, weight, 1)

    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """See `Objective.sums`."""
        return {LOSS: output_nll(output, batch["targets"], batch["weights"], self.config.chunk)}

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """See `Objective.metrics`."""
        return {"loss": sums[LOSS] / count}
