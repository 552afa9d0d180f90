"""MM-Rec as a model family."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from jax.sharding import PartitionSpec as P

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import Dashboard, Params
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.dashboard.observer import observe
from mmrec_jax.models.mmrec.dashboard.summary import format_table, panels, scalars, summarise
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.models.mmrec.state import BATCH_AXES, MMRecState, zero_state
from mmrec_jax.models.vocabulary import ExtendableModel

# Matrices of the blocks are [L, in, out]: the residual stream's side is split over "fsdp", the
# inner side over "tensor", so that a block's two products need one sum over "tensor".
_INWARD, _OUTWARD = P(None, "fsdp", "tensor"), P(None, "tensor", "fsdp")


@dataclasses.dataclass(frozen=True)
class MMRec(ExtendableModel):
    """The model of `model.py`."""

    config: MMRecConfig

    not_decayed: ClassVar[str] = r"(^|/)(scale|bias|b_gamma|b_alpha|w_g|c_g)$"
    not_adaptable: ClassVar[str] = (
        r"(^|/)(embed|embedding|dpg_down|dpg_up)(/|$)|norm[^/]*(/|$)"
        r"|(^|/)(scale|bias|b_gamma|b_alpha|w_g|c_g)$"
    )
    sharding: ClassVar[tuple[tuple[str, P], ...]] = (
        (r"embedding$", P("tensor", "fsdp")),
        (r"(^|/)(out|down|dpg_up)/kernel$", _OUTWARD),
        (r"(^|/)kernel$", _INWARD),
    )

    def __post_init__(self) -> None:
        config = self.config
        if "float64" in (config.dtype, config.param_dtype) and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            raise UserError(
                "config.model.dtype or param_dtype is float64, which JAX computes only where the "
                "environment has JAX_ENABLE_X64=1"
            )

    @property
    def module(self) -> MMRecLM:
        """The network."""
        return MMRecLM(self.config)

    @property
    def probeable(self) -> dict[str, jax.ShapeDtypeStruct]:
        """See `LanguageModel.probeable`."""
        c = self.config
        sizes = {"states": c.E, "recall": c.H}
        return {
            name: jax.ShapeDtypeStruct((c.num_layers, size), c.state_dtype)
            for name, size in sizes.items()
            if size
        }

    def initial_state(self, batch: int) -> MMRecState:
        """The state before the first token."""
        return zero_state(self.config, batch)

    @property
    def state_batch_axes(self) -> MMRecState:
        """The batch axis of each array."""
        return BATCH_AXES

    def dashboard(
        self, params: Params, batch: Mapping[str, Any], *, thorough: bool = False
    ) -> Dashboard:
        """`thorough` solves by Newton's method, so that it can be judged."""
        model = MMRec(dataclasses.replace(self.config, scan="parallel")) if thorough else self
        summary = summarise(observe(model, params, batch["inputs"], batch["segment_ids"]))
        return Dashboard(scalars(summary), summary, format_table(summary), panels(summary))

    def mixing_flops(self, length: int) -> float:
        """The long-term memory's definition: 3 products of 2 S K for each token."""
        c = self.config
        return 6.0 * c.num_layers * c.H * c.S * c.K
