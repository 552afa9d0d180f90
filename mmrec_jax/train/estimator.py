"""The curvature of the training loss on one batch, as the optimizer's `hessian=` wants it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.config import OptimConfig
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.objectives.api import Batch
from mmrec_jax.objectives.cross_entropy import weighted_nll
from mmrec_jax.optim.hessian import gnb, hutchinson
from mmrec_jax.train.batch_split import rows_back, rows_first
from mmrec_jax.typing import Array

# (key, model, params, batch, state of the rows before it) -> a tree like the parameters
Estimator = Callable[[Array, LanguageModel, Params, Batch, State], Params]


def make_estimator(config: OptimConfig, accumulate: int = 1) -> Estimator:
    """The estimator that the optimizer is named after: "sophia_g" or "sophia_h".

    It sees the cross-entropy alone: no dropout or noise, no other objective, no clipping after it.
    It reads every n-th row of the batch (`estimator_batch`), in microbatches that have at most as
    many rows as those of training, and those rows are the same ones whatever `accumulate` is.
    """

    def estimate(
        key: Array, model: LanguageModel, params: Params, batch: Batch, carried: State
    ) -> Params:
        axes = model.state_batch_axes

        def logits_fn(params: Params, batch: Any) -> Array:
            before = rows_back(batch["carried"], axes)
            return model.apply(params, batch["inputs"], before, batch["segment_ids"]).logits

        def loss_fn(params: Params, batch: Any) -> Array:
            weight = jnp.sum(batch["weights"])
            nll = weighted_nll(logits_fn(params, batch), batch["targets"], batch["weights"])
            return nll / jnp.where(weight > 0, weight, 1)

        rows = batch["weights"].shape[0]
        every = max(
            n for n in range(1, rows + 1) if rows % n == 0 and n * config.estimator_batch <= 1
        )
        chosen = jax.tree.map(
            lambda x: x.reshape(rows // every, every, *x.shape[1:])[:, 0],
            batch | {"carried": rows_first(carried, axes)},
        )
        rows, at_once = rows // every, rows // accumulate
        parts = min(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= at_once)
        if config.name == "sophia_g":
            return gnb(key, logits_fn, params, chosen, accumulate=parts)
        return hutchinson(key, loss_fn, params, chosen, accumulate=parts)

    return estimate
