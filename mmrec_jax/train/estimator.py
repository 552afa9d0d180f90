"""The curvature of the training loss on one batch, as the optimizer's `hessian=` wants it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.objectives.cross_entropy import weighted_nats
from mmrec_jax.optim.hessian import gnb, hutchinson
from mmrec_jax.train.micro_batches import ROW_AXES
from mmrec_jax.train.reading import read_batch
from mmrec_jax.train.state import Base
from mmrec_jax.typing import Array

# (key, trained, base, batch, state of the rows before it) -> a tree like what is trained
Estimator = Callable[[Array, Any, Base | None, dict[str, Array], MMRecState | None], Any]


def make_estimator(
    model: MMRecLM,
    config: OptimConfig,
    accumulate: int = 1,
    adapters: AdapterConfig | None = None,
) -> Estimator:
    """The estimator that the optimizer is named after: "sophia_g" or "sophia_h".

    It sees the main loss alone: no dropout or noise, no auxiliary term, no clipping after it. It
    reads every n-th row of the batch (`estimator_batch`), in micro-batches that have at most as
    many rows as those of training, and those rows are the same ones whatever `accumulate` is.
    """

    adapters = adapters or AdapterConfig()

    def estimate(
        key: Array, params: Any, base: Base | None, batch: dict[str, Array], carried: Any
    ) -> Any:
        def logits_fn(params: Any, batch: Any) -> Array:
            carried = _rows_back(batch["carried"])
            return read_batch(model, adapters, params, base, batch, carried)[0]

        def loss_fn(params: Any, batch: Any) -> Array:
            weight = jnp.sum(batch["weights"])
            nats = weighted_nats(logits_fn(params, batch), batch["targets"], batch["weights"])
            return nats / jnp.where(weight > 0, weight, 1)

        rows = batch["weights"].shape[0]
        every = max(
            n for n in range(1, rows + 1) if rows % n == 0 and n * config.estimator_batch <= 1
        )
        chosen = jax.tree.map(
            lambda x: x.reshape(rows // every, every, *x.shape[1:])[:, 0],
            batch | {"carried": _rows_first(carried)},
        )
        rows, at_once = rows // every, rows // accumulate
        pieces = min(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= at_once)
        if config.name == "sophia_g":
            return gnb(key, logits_fn, params, chosen, accumulate=pieces)
        return hutchinson(key, loss_fn, params, chosen, accumulate=pieces)

    return estimate


def _rows_first(state: MMRecState | None) -> MMRecState | None:
    """The state with its rows on axis 0 of every array."""
    if state is None:
        return None
    moved: MMRecState = jax.tree.map(lambda x, axis: jnp.moveaxis(x, axis, 0), state, ROW_AXES)
    return moved


def _rows_back(state: MMRecState | None) -> MMRecState | None:
    """The inverse of `_rows_first`."""
    if state is None:
        return None
    moved: MMRecState = jax.tree.map(lambda x, axis: jnp.moveaxis(x, 0, axis), state, ROW_AXES)
    return moved
