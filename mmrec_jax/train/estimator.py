"""The curvature of the training loss on one batch, as the optimizer's `hessian=` wants it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel, Output, Params, State
from mmrec_jax.objectives.api import Batch
from mmrec_jax.objectives.cross_entropy import output_nll
from mmrec_jax.optim.config import OptimConfig
from mmrec_jax.optim.hessian import gnb, hutchinson
from mmrec_jax.train.batch_split import rows_back, rows_first
from mmrec_jax.typing import Array

# (key, model, params, batch, state of the rows before it) -> a tree like the parameters
Estimator = Callable[[Array, LanguageModel, Params, Batch, State], Params]


def make_estimator(config: OptimConfig, accumulate: int = 1, chunk: int | None = None) -> Estimator:
    """The estimator that the optimizer is named after: "sophia_g" or "sophia_h".

    It sees the cross-entropy alone: no dropout or noise, no other objective, no clipping after it.
    It reads every n-th row of the batch (`estimator_batch`), in microbatches that have at most as
    many rows as those of training, and those rows are the same ones whatever `accumulate` is.
    `chunk` is that of the cross-entropy.
    """

    def estimate(
        key: Array, model: LanguageModel, params: Params, batch: Batch, carried: State
    ) -> Params:
        axes = model.state_batch_axes

        def apply(params: Params, batch: Any) -> Output:
            before = rows_back(batch["carried"], axes)
            return model.apply(params, batch["inputs"], before, batch["segment_ids"])

        def loss_fn(params: Params, batch: Any) -> Array:
            weight = jnp.sum(batch["weights"])
            output = apply(params, batch)
            nll = output_nll(output, batch["targets"], batch["weights"], chunk)
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
            return gnb(key, apply, params, chosen, accumulate=parts, chunk=chunk)
        return hutchinson(key, loss_fn, params, chosen, accumulate=parts)

    return estimate
