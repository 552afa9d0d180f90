"""Rows of the vocabulary, of which the new ones may be a table of their own, behind the others."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.models.api import Params
from mmrec_jax.models.family_config import ExtendableConfig
from mmrec_jax.models.linen import LinenModel
from mmrec_jax.quantised import Quantised, row_products, rows
from mmrec_jax.typing import Array, Float, Int

# In the path of a table of new tokens' rows, and of what is trained in its place.
NEW_ROWS = r"(^|/)new_embedding(/|$)"


class Vocabulary(nn.Module):
    """Embeds tokens with `embedding` [old rows, D] and `new_embedding` [new rows, D].

    Attributes:
      config: says how many rows each has.
      features: D.
      scale: standard deviation of both at the start.
      dtype: of what is returned; None: `param_dtype`.
      param_dtype: of the tables.
      casts_table: each table is cast as a whole before rows are taken, as `nn.Embed` does, so that
        the gradients of tokens are summed in `dtype`; False: in `param_dtype`.
    """

    config: ExtendableConfig
    features: int
    scale: float = 0.02
    dtype: Any = None
    param_dtype: Any = jnp.float32
    casts_table: bool = False

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """The row of each token."""
        old, new = self.config.old_rows, self.config.new_rows
        x = self._found("embedding", old, tokens)
        if not new:
            return x
        added = self._found("new_embedding", new, tokens - old)
        return jnp.where((tokens >= old)[..., None], added, x)

    def _found(self, name: str, count: int, index: Array) -> Array:
        init, shape = nn.initializers.normal(self.scale), (count, self.features)
        table: Array | Quantised = self.param(name, init, shape, self.param_dtype)
        if self.casts_table and not isinstance(table, Quantised):
            table = table.astype(self.dtype or table.dtype)
        return rows(table, jnp.clip(index, 0, count - 1), self.dtype)


@dataclasses.dataclass(frozen=True)
class ExtendableModel(LinenModel):
    """A family whose tables, `embed` and perhaps `head`, are those of a `Vocabulary`."""

    config: ExtendableConfig

    decayed: ClassVar[str] = r"(^|/)(kernel|(new_)?embedding)$"

    def head(self, params: Params, hidden: Array) -> Array:
        """See `LinenModel.head`: logits of the old rows, then of the new ones, none of padding."""
        (name,) = self.head_parameters
        tables, padding = params[name], self.config.padding_rows
        logits = row_products(hidden, tables["embedding"])
        if self.config.new_rows:
            added = row_products(hidden, tables["new_embedding"])
            logits = jnp.concatenate([logits, added], axis=-1)
        if not padding:
            return logits
        real = jnp.arange(logits.shape[-1]) < logits.shape[-1] - padding
        return jnp.where(real, logits, jnp.finfo(logits.dtype).min)


def one_table(params: Params) -> Params:
    """The parameters with new rows, in the dtype of the old ones, behind these in one table."""

    def joined(part: Any) -> Any:
        if not isinstance(part, dict) or "new_embedding" not in part:
            return part
        old, new = part["embedding"], part["new_embedding"]
        return {"embedding": jnp.concatenate([old, new.astype(old.dtype)])}

    return {name: joined(part) for name, part in params.items()}
