"""From logits to the next token: penalties, truncation, a draw, each row by settings of its own."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.typing import Array, Bool, Float, Int, typed


class RowSampling(NamedTuple):
    """The fields of `Sampling` for each row, as arguments of compiled functions."""

    temperature: Float[Array | np.ndarray, "B"]
    top_k: Int[Array | np.ndarray, "B"]
    top_p: Float[Array | np.ndarray, "B"]
    repetition_penalty: Float[Array | np.ndarray, "B"]

    @property
    def greedy(self) -> Bool[Array, "B"]:
        """Whether the most likely token is taken: float32 has no smaller normal number."""
        return jnp.asarray(self.temperature) < jnp.finfo(jnp.float32).tiny


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    # 0 takes the most likely token, as does what float32 rounds to 0; 1 samples the model's
    # distribution
    temperature: float = 0.8
    top_k: int = 0  # keep the k most likely tokens; 0 keeps all
    # Keep the smallest set of most likely tokens with at least this much probability (nucleus
    # sampling, arXiv 1904.09751); 1 keeps all
    top_p: float = 0.95
    # Divide positive and multiply negative logits of tokens seen before by this (CTRL, arXiv
    # 1909.05858); 1 changes nothing
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "temperature": (0 <= self.temperature < math.inf, "at least 0, and finite"),
            "top_k": (self.top_k >= 0, "at least 0 (0 keeps every token)"),
            "top_p": (0 < self.top_p <= 1, "in (0, 1]"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "above 0, and finite"),
        }
        for name, (holds, expected) in checks.items():
            if not holds:
                raise UserError(f"{name} is {getattr(self, name)}; it must be {expected}")

    def rows(self, count: int) -> RowSampling:
        """The same for so many rows."""
        most = np.iinfo(np.int32).max
        return RowSampling(
            np.full(count, min(self.temperature, np.finfo(np.float32).max), np.float32),
            np.full(count, min(self.top_k, most), np.int32),
            np.full(count, self.top_p, np.float32),
            np.full(count, self.repetition_penalty, np.float32),
        )


@typed
def filtered_logits(
    logits: Float[Array, "B V"], seen: Bool[Array, "B V"], sampling: RowSampling
) -> Float[Array, "B V"]:
    """Logits after penalty, temperature, top-k and top-p; what is cut off is -inf."""
    logits = _penalised(logits, seen, sampling)
    unchanged = sampling.greedy | (sampling.temperature == 1)
    # From the largest down: it stays finite, however small the temperature is.
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    scaled = below / jnp.where(unchanged, 1, sampling.temperature)[:, None]
    logits = jnp.where(unchanged[:, None], logits, scaled)
    # Sorting costs more than all else, and is left out where no row wants it.
    truncates = (sampling.top_k > 0) | (sampling.top_p < 1)
    cut = jax.lax.cond(jnp.any(truncates), _least_kept, _keep_all, logits, sampling)
    return jnp.where(logits < cut, -jnp.inf, logits)


@typed
def draw(
    keys: Array, logits: Float[Array, "B V"], seen: Bool[Array, "B V"], sampling: RowSampling
) -> Int[Array, "B"]:
    """The next token of each row; `keys` are one of each."""
    likeliest = jnp.argmax(_penalised(logits, seen, sampling), axis=-1)

    def drawn() -> Array:
        filtered = filtered_logits(logits, seen, sampling)
        sampled = jax.vmap(jax.random.categorical)(keys, filtered)
        return jnp.where(sampling.greedy, likeliest, sampled)

    return jax.lax.cond(jnp.all(sampling.greedy), lambda: likeliest, drawn)


def _penalised(logits: Array, seen: Array, sampling: RowSampling) -> Array:
    penalty = jnp.asarray(sampling.repetition_penalty)[:, None]
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def _least_kept(logits: Array, sampling: RowSampling) -> Array:
    """The smallest logit of each row [B, 1] that top-k and top-p keep."""
    size = logits.shape[-1]
    top_k, top_p = (jnp.asarray(x)[:, None] for x in (sampling.top_k, sampling.top_p))
    ordered = jnp.sort(logits, axis=-1, descending=True)
    last = jnp.where(top_k > 0, jnp.minimum(top_k, size), size) - 1
    smallest = jnp.take_along_axis(ordered, last, axis=-1)
    ordered = jnp.where(ordered < smallest, -jnp.inf, ordered)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    # A token stays if the probability before it is still short of top_p: the first always is.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    kept = jnp.where((before < top_p) | (top_p == 1), ordered, jnp.inf)
    return jnp.maximum(smallest, jnp.min(kept, axis=-1, keepdims=True))


def _keep_all(logits: Array, sampling: RowSampling) -> Array:
    return jnp.full_like(logits[:, :1], -jnp.inf)
