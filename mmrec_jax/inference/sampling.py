"""From logits to the next token: penalties, truncation, a draw."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from mmrec_jax.errors import UserError
from mmrec_jax.typing import Array, Bool, Float, Int, typed


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

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken: float32 has no smaller normal number."""
        return bool(self.temperature < jnp.finfo(jnp.float32).tiny)


@typed
def filtered_logits(
    logits: Float[Array, "B V"], seen: Bool[Array, "B V"], sampling: Sampling
) -> Float[Array, "B V"]:
    """Logits after penalty, temperature, top-k and top-p; what is cut off is -inf."""
    if sampling.repetition_penalty != 1:
        penalty = sampling.repetition_penalty
        penalised = jnp.where(logits > 0, logits / penalty, logits * penalty)
        logits = jnp.where(seen, penalised, logits)
    if sampling.temperature != 1 and not sampling.greedy:
        # From the largest down: it stays finite, however small the temperature is.
        logits = (logits - jnp.max(logits, axis=-1, keepdims=True)) / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        smallest = jax.lax.top_k(logits, sampling.top_k)[0][:, -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if sampling.top_p < 1:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        # A token stays if the probability before it is still short of top_p: the first always is.
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        kept = jnp.where(before < sampling.top_p, ordered, jnp.inf)
        logits = jnp.where(logits < jnp.min(kept, axis=-1, keepdims=True), -jnp.inf, logits)
    return logits


@typed
def draw(
    key: Array, logits: Float[Array, "B V"], seen: Bool[Array, "B V"], sampling: Sampling
) -> Int[Array, "B"]:
    """The next token of each row."""
    logits = filtered_logits(logits, seen, sampling)
    if sampling.greedy:
        return jnp.argmax(logits, axis=-1)
    return jax.random.categorical(key, logits, axis=-1)
