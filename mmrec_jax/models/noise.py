"""NEFTune (arXiv 2310.05914): uniform noise on the embedded tokens, in fine-tuning only.

    x + u alpha / sqrt(n d),    u uniform in (-1, 1),  n tokens in the document,  d the width

so that the noise of a document has the length alpha / sqrt(3) on average, whatever its size.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.models.api import Output, Params, Training
from mmrec_jax.models.wrapper import Inputs, Wrapper
from mmrec_jax.typing import Array, Float, Int, typed

# The noise's key is `fold_in(key of the forward pass, this)`; that key itself is dropout's.
_NOISE = 1


@typed
def neftune(
    key: Array,
    embeddings: Float[Array, "B T D"],
    segment_ids: Int[Array, "B T"] | None,
    alpha: float | Array,
    scale: Float[Array, "B T"] | None = None,
) -> Float[Array, "B T D"]:
    """The embeddings with noise, summed in float32; bit for bit the same where its size is 0.

    n counts the tokens of a document in its row; padding, segment id 0, is left untouched, and
    without ids each row is one document. `alpha` is 5 to 15 in the paper; `scale` is a factor of
    the noise of each token.
    """
    batch, length, width = embeddings.shape
    if segment_ids is None:
        segment_ids = jnp.ones((batch, length), jnp.int32)
    real = segment_ids > 0
    size = jnp.maximum(_tokens_of_document(segment_ids), 1).astype(jnp.float32)
    bound = jnp.where(real, jnp.asarray(alpha, jnp.float32) * jax.lax.rsqrt(size * width), 0)
    if scale is not None:
        bound = bound * scale.astype(jnp.float32)
    bound = bound[..., None]
    noise = jax.random.uniform(key, embeddings.shape, jnp.float32, -1, 1) * bound
    noisy = (embeddings.astype(jnp.float32) + noise).astype(embeddings.dtype)
    # Chosen, since -0.0 + 0.0 is another number than -0.0.
    return jnp.where(bound != 0, noisy, embeddings)


def _tokens_of_document(segment_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """How many tokens of its row have the id of each token, in time that is linear in T log T."""

    def row(ids: Array) -> Array:
        ordered = jnp.sort(ids)
        after = jnp.searchsorted(ordered, ids, side="right")
        return after - jnp.searchsorted(ordered, ids, side="left")

    return jax.vmap(row)(segment_ids)


@flax.struct.dataclass
class NoisyModel(Wrapper):
    """A model with NEFTune's noise in training."""

    inner: Any
    table: Float[Array, "V"] | None  # factor of the noise of each token
    alpha: float = flax.struct.field(pytree_node=False)
    steps: int | None = flax.struct.field(pytree_node=False)  # after which a linear alpha is 0

    def forward(self, params: Params, inputs: Inputs, options: dict[str, Any]) -> Output:
        """In training the noise comes after what `perturb` does."""
        training: Training | None = options.get("training")
        if training is None:
            return self.inner.apply(params, *inputs, **options)
        perturb, (tokens, _, segment_ids) = options.get("perturb"), inputs
        key, alpha = jax.random.fold_in(training.key, _NOISE), self._alpha(training.step)
        scale = None if self.table is None else self.table[tokens]

        def noisy(x: Array) -> Array:
            x = x if perturb is None else perturb(x)
            return neftune(key, x, segment_ids, alpha, scale)

        return self.inner.apply(params, *inputs, **{**options, "perturb": noisy})

    def kept_specs(self) -> Self:
        """See `LanguageModel.kept_specs`."""
        table = None if self.table is None else PartitionSpec()
        specs: Self = self.replace(inner=self.inner.kept_specs(), table=table)
        return specs

    def _alpha(self, step: Array) -> float | Array:
        if self.steps is None:
            return self.alpha
        return self.alpha * jnp.maximum(1 - step.astype(jnp.float32) / self.steps, 0)


def with_embedding_noise(
    model: Any, alpha: float, *, steps: int | None = None, table: NDArray[np.float32] | None = None
) -> NoisyModel:
    """The model with noise on its embedded tokens in training; evaluation has none.

    `steps` is the length of a run at whose end alpha has fallen linearly to 0, None: it is
    constant; `table` the factor of the noise of each token, [V].
    """
    return NoisyModel(model, None if table is None else jnp.asarray(table), alpha, steps)


def read_noise_table(path: str, ids: Mapping[str, int]) -> NDArray[np.float32]:
    """The factor of each token, [V] float32, from a JSON file such as {"▁lar": 0.3}; else 1.

    Raises:
      UserError: the file is missing or damaged, or names a token that does not exist.
    """
    where = f"config.noise.table: {path}"
    factors = read_json_object(Path(path).expanduser(), where)
    table = np.ones(max(ids.values()) + 1, np.float32)
    for token, factor in factors.items():
        if token not in ids:
            raise UserError(f"{where}: the tokenizer has no token {token!r}")
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not (number and 0 <= factor < math.inf):
            raise UserError(
                f"{where}: the factor of {token!r} is {factor!r}; it must be at least 0"
            )
        table[ids[token]] = factor
    return table
