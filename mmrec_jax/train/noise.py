"""The noise of fine-tuning, from the config to what a training step does with embedded tokens."""

import math
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mmrec_jax.config import NoiseConfig
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.models.neftune import neftune
from mmrec_jax.typing import Array

# (key, number of updates done, batch) -> what is done to the embedded tokens of that batch
Noise = Callable[[Array, Array, dict[str, Array]], Callable[[Array], Array]]


def make_noise(config: NoiseConfig, steps: int, tokenizer: Tokenizer) -> Noise | None:
    """NEFTune as the config wants it; None where `alpha` is 0.

    Args:
      config: its fields.
      steps: of the whole run, at whose end a linear schedule reaches 0.
      tokenizer: gives the names in `table` their ids.

    Raises:
      UserError: the table is missing, damaged, or names a token that does not exist.
    """
    if not config.alpha:
        return None
    table = _read_table(config.table, tokenizer) if config.table else None

    def noise(key: Array, step: Array, batch: dict[str, Array]) -> Callable[[Array], Array]:
        alpha: float | Array = config.alpha
        if config.schedule == "linear":
            alpha = alpha * jnp.maximum(1 - step.astype(jnp.float32) / steps, 0)
        scale = None if table is None else jnp.asarray(table)[batch["inputs"]]
        return lambda embedded: neftune(key, embedded, batch["segment_ids"], alpha, scale)

    return noise


def _read_table(path: str, tokenizer: Tokenizer) -> np.ndarray:
    """The factor of each token, [V] float32."""
    where = f"config.noise.table: {path}"
    factors = read_json_object(Path(path).expanduser(), where)
    ids = {tokenizer.id_to_piece(index): index for index in range(tokenizer.vocab_size)}
    table = np.ones(tokenizer.vocab_size, np.float32)
    for piece, factor in factors.items():
        if piece not in ids:
            raise UserError(f"{where}: the tokenizer has no token {piece!r}")
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not (number and 0 <= factor < math.inf):
            raise UserError(
                f"{where}: the factor of {piece!r} is {factor!r}; it must be at least 0"
            )
        table[ids[piece]] = factor
    return table
