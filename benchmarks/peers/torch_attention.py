"""The attention peer in torch: `scaled_dot_product_attention`, fp32, AdamW. Needs no JAX."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.torch_training import make_step
from mmrec_jax.models.attention.config import AttentionConfig


class Layer(nn.Module):
    """Attention and SwiGLU, each behind a norm and beside a residual."""

    def __init__(self, config: AttentionConfig) -> None:
        """Weights with the standard deviation 1 / sqrt(fan in), branches' last ones smaller."""
        super().__init__()
        self.heads = config.num_heads
        d, f, last = config.model_dim, config.ffn_dim, (2 * config.num_layers) ** -0.5
        self.norm, self.ffn_norm = (nn.Parameter(torch.ones(d)) for _ in range(2))
        self.qkv = _matrix(3 * d, d)
        self.out = _matrix(d, d, last)
        self.gate_value = _matrix(2 * f, d)
        self.down = _matrix(d, f, last)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`[B, T, D] -> [B, T, D]`."""
        batch, length, d = x.shape
        u = functional.linear(_rms_norm(x, self.norm), self.qkv)
        u = u.view(batch, length, 3 * self.heads, -1).transpose(1, 2)
        q, k, v = u.split(self.heads, dim=1)
        mixed = functional.scaled_dot_product_attention(
            _rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True
        )
        x = x + functional.linear(mixed.transpose(1, 2).reshape(batch, length, d), self.out)
        gate, value = functional.linear(_rms_norm(x, self.ffn_norm), self.gate_value).chunk(2, -1)
        return x + functional.linear(functional.silu(gate) * value, self.down)


class AttentionLM(nn.Module):
    """Token ids `[B, T]` to logits `[B, T, V]`."""

    def __init__(self, config: AttentionConfig) -> None:
        """Random weights; the embedding, which is also the output matrix, at 0.02."""
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(0.02 * torch.randn(config.vocab_size, config.model_dim))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = nn.Parameter(torch.ones(config.model_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Reads rows from their beginning."""
        size = self.config.head_dim
        frequency = self.config.rope_base ** (-torch.arange(0, size, 2) / size)
        angle = torch.outer(torch.arange(tokens.shape[1]), frequency)
        cos, sin = angle.cos(), angle.sin()
        x = functional.embedding(tokens, self.embedding)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return functional.linear(_rms_norm(x, self.norm), self.embedding)


def make_train_step(
    config: AttentionConfig, *, compiled: bool = False
) -> tuple[AttentionLM, Callable[[Tensor, Tensor], float]]:
    """The model and `step(inputs, targets) -> loss in nats/token`, which updates it in place."""
    model = AttentionLM(config)
    return model, make_step(model, torch.compile(model) if compiled else model)


def _matrix(out: int, into: int, scale: float = 1.0) -> nn.Parameter:
    return nn.Parameter(scale * into**-0.5 * torch.randn(out, into))


def _rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    return functional.rms_norm(x, scale.shape, scale, eps=1e-6)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
