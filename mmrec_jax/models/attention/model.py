"""Exact causal attention over whole rows.

Chosen for speed on a CPU, each by measurement:
  * attention goes by blocks of queries (`causal_attention.py`);
  * besides the scores only the products with parameters are kept for the backward pass;
  * a weight's gradient is written as the form of the product that XLA does fastest there.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.causal_attention import causal_attention, rotate
from mmrec_jax.models.linen import recomputed
from mmrec_jax.models.partition import split_rows
from mmrec_jax.models.vocabulary import ExtendableModel, Vocabulary
from mmrec_jax.typing import Array, Float, Int, typed

_MIXED = "mixed"  # the name under which attention's result is kept


class AttentionLM(nn.Module):
    """Token ids to hidden states; layer i is index i of axis 0 of every leaf of `blocks`."""

    config: AttentionConfig

    @nn.compact
    @typed
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        state: None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        *,
        deterministic: bool = True,
        perturb: Callable[[Array], Array] | None = None,
    ) -> tuple[Float[Array, "B T D"], None, dict[str, Array]]:
        """Reads rows from their beginning: see `LanguageModel.apply`.

        A token attends to earlier tokens with its own segment id, without ids to all earlier ones.
        There is neither a state nor dropout.
        """
        config = self.config
        embed = Vocabulary(config, config.model_dim, name="embed")
        products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        layers = nn.scan(
            recomputed(_Layer, "dots", products, _MIXED),
            variable_axes={True: 0},  # of every collection: what is laid over params comes along
            split_rngs={"params": True, "dropout": True},  # the latter for adapters
            in_axes=nn.broadcast,
            length=config.num_layers,
            check_constancy_invariants=False,  # which there are none of: traces a layer once
        )
        x = embed(tokens)
        if perturb is not None:
            x = perturb(x)
        x, _ = layers(config, name="blocks")(split_rows(x), segment_ids)
        return nn.RMSNorm(name="final_norm")(x), None, {}


class _Layer(nn.Module):
    """Attention and SwiGLU, each behind a norm and beside a residual."""

    config: AttentionConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], segment_ids: Int[Array, "B T"] | None
    ) -> tuple[Array, None]:
        config = self.config
        batch, length, width = x.shape
        last = 1 / (2 * config.num_layers)
        u = _Dense(3 * width, name="qkv")(nn.RMSNorm(name="norm")(x))
        u = u.reshape(batch, length, 3 * config.num_heads, config.head_dim)
        q, k, v = jnp.split(u, 3, axis=2)
        cos, sin = rotary(config.rope_base, config.head_dim, length)
        q, k = rotate(q, cos, sin) * config.head_dim**-0.5, rotate(k, cos, sin)
        mixed = checkpoint_name(causal_attention(q, k, v, segment_ids), _MIXED)
        mixed = mixed.reshape(batch, length, width)
        x = split_rows(x + _Dense(width, scale=last, name="out")(mixed))
        u = _Dense(2 * config.ffn_dim, name="gate_value")(nn.RMSNorm(name="ffn_norm")(x))
        gate, value = jnp.split(u, 2, axis=-1)
        down = _Dense(width, scale=last, name="down")
        return split_rows(x + down(nn.silu(gate) * value)), None


def rotary(base: float, channels: int, length: int, start: Array | int = 0) -> tuple[Array, Array]:
    """Cosine and sine [1, T, 1, S / 2] of the positions from `start` on, for `rotate`."""
    half = channels // 2
    frequency = base ** (-jnp.arange(half) / half)
    angle = ((start + jnp.arange(length))[:, None] * frequency[None])[None, :, None]
    return jnp.cos(angle), jnp.sin(angle)


class _Dense(nn.Dense):
    """A matrix without bias; `scale` multiplies the variance of its LeCun-normal start."""

    use_bias: bool = False
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T M"]) -> Array:
        init = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        return _product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], self.features)


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    # Equal to x.T @ gradient; XLA on a CPU takes over 1.5 times as long for that one.
    return gradient @ kernel.T, (gradient.T @ x).T


_product.defvjp(_product_forward, _product_backward)


@dataclasses.dataclass(frozen=True)
class Attention(ExtendableModel):
    """The model family. It keeps no state: generation reads the whole text again."""

    config: AttentionConfig

    sharding: ClassVar[tuple[tuple[str, P], ...]] = (
        (r"embedding$", P("tensor", "fsdp")),
        (r"(^|/)(out|down)/kernel$", P(None, "tensor", "fsdp")),
        (r"(^|/)kernel$", P(None, "fsdp", "tensor")),
    )

    @property
    def module(self) -> AttentionLM:
        """The network."""
        return AttentionLM(self.config)

    def mixing_flops(self, length: int) -> float:
        """Scores and mixtures with the tokens before: half of the row on average."""
        return 2.0 * length * self.config.num_layers * self.config.model_dim
