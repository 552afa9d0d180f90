"""An objective in one file: the square of log Z keeps logits from drifting (arXiv 2204.02311)."""

import dataclasses

import jax
import jax.numpy as jnp

from mmrec_jax.objectives.api import LOSS, Objective
from mmrec_jax.objectives.config import ObjectiveConfig, Weight, weight_setting
from mmrec_jax.objectives.registry import OBJECTIVES


@OBJECTIVES.register("z_loss")
@dataclasses.dataclass(frozen=True)
class ZLossConfig(ObjectiveConfig):
    group = "objectives.z_loss"
    weight: Weight = weight_setting(1e-2)

    def build(self, model, tokenizer) -> "ZLoss":
        return ZLoss(self)


class ZLoss(Objective):
    def count(self, model, batch, state):
        return jnp.maximum(jnp.sum(batch["weights"] > 0), 1)

    def sums(self, params, output, batch, continues, reread):
        values, counted = self.positions(output, batch)["z_loss"]
        return {LOSS: jnp.sum(jnp.where(counted, values, 0))}

    def metrics(self, sums, count):
        return {"z_loss": sums[LOSS] / count}

    def positions(self, output, batch):
        return {"z_loss": (jax.nn.logsumexp(output.logits, -1) ** 2, batch["weights"] > 0)}
