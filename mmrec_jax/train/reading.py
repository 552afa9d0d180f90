"""How training reads: the model with the trained part in its place."""

from collections.abc import Callable
from typing import Any

from mmrec_jax import dora
from mmrec_jax.config import AdapterConfig
from mmrec_jax.models.mmrec.model import Intermediates, MMRecLM, forward
from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.train.state import Base
from mmrec_jax.typing import Array

Read = tuple[Array, MMRecState, Intermediates]


def read_batch(
    model: MMRecLM,
    adapters: AdapterConfig,
    params: Any,
    base: Base | None,
    batch: dict[str, Array],
    carried: MMRecState | None,
    *,
    dropout_key: Array | None = None,
    perturb: Callable[[Array], Array] | None = None,
) -> Read:
    """`forward` on a batch.

    Args:
      model: the model.
      adapters: how adapters are put in; not used without a `base`.
      params: the trained part of a `TrainState`.
      base: the frozen part.
      batch: `inputs` and `segment_ids` [B, T].
      carried: the model's state before the batch.
      dropout_key: switches dropout on, the model's and the adapters'.
      perturb: noise on the embedded tokens.
    """
    inputs = (batch["inputs"], carried, batch["segment_ids"])
    noise: dict[str, Any] = {"dropout_key": dropout_key, "perturb": perturb}
    if base is None:
        return forward(model, params, *inputs, **noise)
    if adapters.path == "apply":
        adapted = dora.apply(base.params, params, detach_norm=adapters.detach_norm)
        return forward(model, adapted, *inputs, **noise)
    with dora.intercept(
        base.params,
        params,
        squares=base.squares,
        dropout=0.0 if dropout_key is None else adapters.dropout,
        detach_norm=adapters.detach_norm,
    ) as variables:
        others = {name: value for name, value in variables.items() if name != "params"}
        return forward(model, variables["params"], *inputs, **noise, others=others)
