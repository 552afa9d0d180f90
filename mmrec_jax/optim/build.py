"""From `OptimConfig` to one optax transformation."""

import re
from collections.abc import Callable
from typing import Any

import optax

from mmrec_jax.models.vocabulary import NEW_ROWS
from mmrec_jax.optim.config import OptimConfig
from mmrec_jax.optim.moments import with_moments_in
from mmrec_jax.optim.new_rows import scale_by_column_rms
from mmrec_jax.optim.sophia import sophia
from mmrec_jax.tree import map_named

# A matrix as Muon should see it: the kernels of all layers are stacked along a leading axis.
_MATRIX = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
# Root mean square of Muon's steps: near that of AdamW's, so that their learning rates compare
# (arXiv 2502.16982).
_MUON_RMS = 0.2


def build_optimizer(
    config: OptimConfig, steps: int, decays: Callable[[str], bool], *, new_rows: bool = False
) -> optax.GradientTransformation:
    """Global-norm clipping, then the optimizer with masked decoupled weight decay.

    Sophia's `update` takes `hessian=`, which the clipping before it does not touch.

    `steps` is the length of the run, where the schedule ends; `decays` as for `decay_mask`;
    `new_rows`: whether the parameters have rows of new tokens, which `config.new_rows_lr` is for.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    lr = learning_rate(config, steps)
    rule = _optimizer(config, lr, decay_mask(decays))
    if new_rows and config.name == "adamw" and config.new_rows_lr:
        own = optax.chain(
            scale_by_column_rms(config.B1, config.B2, config.EPS),
            optax.scale_by_learning_rate(lambda count: config.new_rows_lr * lr(count)),
        )
        rule = optax.partition({True: own, False: rule}, _is_new_rows)
    return with_moments_in(optax.chain(clip, rule), config.moment_dtype)


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


def decay_mask(decays: Callable[[str], bool]) -> Callable[[Any], Any]:
    """From parameters to a tree like them, True where decoupled weight decay applies.

    Args:
      decays: whether it applies to the parameter at a path (`LanguageModel.decays`); of parameters
        that only an objective has, it applies to matrices.
    """

    def rule(name: str, leaf: Any) -> bool:
        return leaf.ndim > 1 if name.startswith("objectives/") else decays(name)

    return lambda params: map_named(rule, params)


def _optimizer(
    config: OptimConfig, lr: optax.Schedule, mask: Callable[[Any], Any]
) -> optax.GradientTransformation:
    decay: dict[str, Any] = {"weight_decay": config.weight_decay, "mask": mask}
    if config.name == "adamw":
        return optax.adamw(lr, b1=config.B1, b2=config.B2, eps=config.EPS, **decay)
    if config.name == "lion":
        return optax.lion(lr, b1=config.B1, b2=config.B2, **decay)
    if config.name == "muon":
        # A rate of -1 leaves the steps as they are: decay and schedule are the same for all.
        steps = optax.contrib.muon(
            learning_rate=-1.0,
            beta=config.B1,
            eps=config.EPS,
            adam_b2=config.B2,
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=_MUON_RMS,
        )
        decayed = optax.add_decayed_weights(**decay)
        return optax.chain(steps, decayed, optax.scale_by_learning_rate(lr))
    return sophia(lr, config.B1, config.B2, config.GAMMA, config.EPS, **decay)


def _is_new_rows(params: Any) -> Any:
    return map_named(lambda name, _: bool(re.search(NEW_ROWS, name)), params)


def _matrices(params: Any) -> Any:
    """Every kernel is a matrix; the embedding and vectors are None, which leaves them to Adam."""
    return map_named(lambda name, _: _MATRIX if name.endswith("kernel") else None, params)
