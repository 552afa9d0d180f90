"""From `OptimConfig` to one optax transformation."""

import optax

from mmrec_jax.config import OptimConfig
from mmrec_jax.optim.masks import decay_mask
from mmrec_jax.optim.schedules import learning_rate


def build_optimizer(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Global-norm clipping, then the optimizer with masked decoupled weight decay.

    Args:
      config: the optimizer's fields.
      steps: length of the run; the schedule ends there.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    optimizer = optax.adamw(
        learning_rate(config, steps),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        mask=decay_mask,
    )
    return optax.chain(clip, optimizer)
