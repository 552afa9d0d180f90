"""UBOO: each layer's state predicts its own next one (an auxiliary objective).

    L = mean( n(h_{t-1}) W_p - stop_gradient(n(h_t)) )^2,   n = RMSNorm without a scale

over layers, channels and the tokens whose predecessor is in the same document. W_p [L, E, E] is
used in training alone. With the trunk's gradient the loss can be lowered by slowing the state down,
so the error of the trivial prediction W_p = I and the variance of n(h) are reported beside it:
`skill = 1 - L / L(I)`.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Output, Probe, State
from mmrec_jax.objectives.api import LOSS, Batch, Objective, Params, Reread
from mmrec_jax.objectives.config import ObjectiveConfig, Weight, weight_setting
from mmrec_jax.settings import setting
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class UBOOConfig(ObjectiveConfig):
    """The prediction of its next hidden state by each layer."""

    group = "objectives.uboo"

    weight: Weight = weight_setting(0.1)
    isolate: bool = setting(False, "a pure probe: no gradient into the model")
    orthogonal: bool = setting(False, "without its component along the gradient of the others")

    def build(self, model: LanguageModel, tokenizer: Tokenizer) -> "UBOO":
        """See `ObjectiveConfig.build`."""
        return UBOO(self)


class UBOO(Objective):
    """The objective of any model whose hidden states can be probed."""

    def __init__(self, config: UBOOConfig) -> None:
        super().__init__(config)
        self.orthogonal = config.orthogonal

    def init(self, key: Array, model: LanguageModel) -> Params:
        """W_p of each layer, LeCun-normal.

        Raises:
          UserError: the model has no hidden states to predict.
        """

        found = model.probeable.get("states")
        if found is None:
            raise UserError(
                "config.objectives.uboo: this model family has no hidden states to predict; "
                "leave the objective out"
            )
        layers, width = found.shape
        lecun = nn.initializers.lecun_normal(batch_axis=0)
        return {"kernel": lecun(key, (layers, width, width), found.dtype)}

    def count(self, model: LanguageModel, batch: Batch, state: State) -> Array:
        """Tokens whose predecessor is in the same document."""
        return jnp.maximum(jnp.sum(model.continues(batch["segment_ids"], state)), 1)

    def probe(self, params: Params, batch: Batch, continues: Array) -> Probe:
        """See `Objective.probe`."""
        return Probe(params, {"continues": continues}, "states", self._sums)

    def sums(
        self, params: Params, output: Output, batch: Batch, continues: Array, reread: Reread
    ) -> dict[str, Array]:
        """The loss and, for `metrics`, that of W_p = I and the moments of n(h)."""
        sums = dict(output.captured)
        total = sums.pop("total")  # [L, E]
        return {"total": total, **{name: jnp.mean(each) for name, each in sums.items()}}

    def _sums(
        self, params: Params, inside: dict[str, Array], rows: dict[str, Array]
    ) -> dict[str, Array]:
        """Of one layer, means over channels."""
        trunk = jax.lax.stop_gradient if self.config.isolate else (lambda x: x)
        previous = normalise(trunk(inside["previous"]))
        after = jax.lax.stop_gradient(normalise(inside["h"]))
        weight = rows["continues"][..., None].astype(after.dtype)
        predicted = previous @ params["kernel"]
        width = after.shape[-1]
        still = weight * jnp.square(jax.lax.stop_gradient(previous) - after)
        return {
            LOSS: jnp.sum(weight * jnp.square(predicted - after)) / width,
            "identity": jnp.sum(still) / width,
            "square": jnp.sum(weight * jnp.square(after)) / width,
            "total": jnp.sum(weight * after, axis=(0, 1)),
        }

    def metrics(self, sums: Mapping[str, Array], count: Array) -> dict[str, Array]:
        """`uboo`, `uboo_skill` and `uboo_variance` (of n(h) over tokens)."""
        tiny = jnp.finfo(jnp.float32).tiny
        mean = sums["total"] / count
        return {
            "uboo": sums[LOSS] / count,
            "uboo_skill": 1 - sums[LOSS] / jnp.maximum(sums["identity"], tiny),
            "uboo_variance": sums["square"] / count - jnp.mean(jnp.square(mean)),
        }


def normalise(x: Float[Array, "*n E"]) -> Array:
    """RMSNorm over the last axis without a scale, in float32 at least."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
