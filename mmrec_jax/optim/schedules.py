"""Learning rate as a function of the step."""

import optax

from mmrec_jax.config import OptimConfig


def learning_rate(config: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to `lr`, then down to the floor at `steps`, or constant whatever `steps` is.

    The first update (count 0) already has lr / warmup_steps, not 0: no step is wasted.
    """
    # A constant schedule must not know the length: a run under it may be made longer later.
    constant = config.schedule == "constant"
    warmup = config.warmup_steps if constant else min(config.warmup_steps, steps)
    floor = config.lr * config.final_lr_fraction
    rest = max(steps - warmup, 1)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(config.lr, rest, config.final_lr_fraction)
    elif config.schedule == "linear":
        after = optax.linear_schedule(config.lr, floor, rest)
    else:
        after = optax.constant_schedule(config.lr)
    if warmup == 0:
        return after
    ramp = optax.linear_schedule(config.lr / warmup, config.lr, max(warmup - 1, 1))
    return optax.join_schedules([ramp, after], [warmup])
