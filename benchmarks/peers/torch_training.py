"""A training step in torch: float32, AdamW, clipping. Needs no JAX."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def make_step(
    model: nn.Module, logits: Callable[[Tensor], Tensor]
) -> Callable[[Tensor, Tensor], float]:
    """`step(inputs, targets) -> loss in nats/token`, which updates the model in place.

    Args:
      model: its parameters are trained, those of one dimension without weight decay.
      logits: the model's, `[B, T]` ids to `[B, T, V]`.
    """
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    scales = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices}, {"params": scales, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(inputs: Tensor, targets: Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(logits(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step
