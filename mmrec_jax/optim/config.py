"""The part of the config that describes the optimizer."""

import dataclasses
from typing import Literal

from mmrec_jax.settings import Settings, above, at_least, setting, within

# Of each optimizer: b1, b2, eps, gamma. Muon's b1 is that of its momentum, its b2 that of the Adam
# which updates what is no matrix; 0 stands where an optimizer has no such number.
_OPTIM_DEFAULTS = {
    "adamw": (0.9, 0.95, 1e-8, 0.0),
    "sophia_g": (0.965, 0.99, 1e-12, 0.05),
    "sophia_h": (0.965, 0.99, 1e-12, 0.01),
    "lion": (0.9, 0.99, 0.0, 0.0),
    "muon": (0.95, 0.95, 1e-8, 0.0),
}


@dataclasses.dataclass(frozen=True)
class OptimConfig(Settings):
    """The optimizer and its schedule.

    "sophia_g" and "sophia_h" divide by an estimate of the loss's curvature (arXiv 2305.14342):
    g samples the Gauss-Newton diagonal from gradients, h the Hessian's from Hessian-vector
    products. A field that is None has the default of the optimizer `name`; the number it comes to
    is the property with the same name in capitals (`B1`, `B2`, `EPS`, `GAMMA`).
    """

    group = "optim"

    name: Literal["adamw", "sophia_g", "sophia_h", "lion", "muon"] = setting(
        "adamw", "lion wants a third to a tenth of adamw's learning rate, the others the same"
    )
    lr: float = setting(3e-3, "peak learning rate", above(0))
    schedule: Literal["cosine", "linear", "constant"] = setting("cosine", "of the learning rate")
    warmup_steps: int = setting(50, "steps in which the learning rate rises", at_least(0))
    final_lr_fraction: float = setting(0.1, "the schedule's floor as a share of lr", within(0, 1))
    b1: float | None = setting(
        None, "decay of the momentum: 0.9; sophia 0.965, muon 0.95", within(0, 1, "[)")
    )
    b2: float | None = setting(
        None, "decay of the second moment: 0.95; lion and sophia's h 0.99", within(0, 1, "[)")
    )
    eps: float | None = setting(
        None, "1e-8; sophia 1e-12, the least divisor of its momentum", above(0)
    )
    gamma: float | None = setting(
        None, "sophia: larger clips fewer coordinates; g 0.05, h 0.01", above(0)
    )
    moment_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "of what the optimizer remembers of each parameter"
    )
    weight_decay: float = setting(
        0.1, "decoupled; never on norms, biases, decays and gates", at_least(0)
    )
    new_rows_lr: float = setting(
        2.0,
        "adamw: learning rate of the rows of new tokens, as a factor of lr; they share the second "
        "moment of a column and do not decay (`optim/new_rows.py`). 0: as any other parameter",
        at_least(0),
        absent=0.0,
    )
    clip_norm: float = setting(1.0, "of the global gradient norm; 0: no clipping", at_least(0))
    hessian_every: int = setting(
        10, "k: sophia estimates the curvature in steps 1, 1 + k, 1 + 2 k, ...", at_least(1)
    )
    estimator_batch: float = setting(
        0.5,
        "share of a batch's rows for that estimate: every n-th row, with n the largest divisor of "
        "train.batch_size up to 1 / estimator_batch",
        within(0, 1, "(]"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.warmup_steps > 0 or not self.uses_hessian,
            "warmup_steps",
            f'at least 1 with "{self.name}": until its curvature has been averaged over some '
            "estimates, every coordinate moves by the whole learning rate",
        )

    @property
    def uses_hessian(self) -> bool:
        """Whether the optimizer needs estimates of the curvature."""
        return self.name in ("sophia_g", "sophia_h")

    @property
    def B1(self) -> float:
        """Decay of the momentum."""
        return _OPTIM_DEFAULTS[self.name][0] if self.b1 is None else self.b1

    @property
    def B2(self) -> float:
        """Decay of the second moment, or of the curvature."""
        return _OPTIM_DEFAULTS[self.name][1] if self.b2 is None else self.b2

    @property
    def EPS(self) -> float:
        """What keeps the division finite."""
        return _OPTIM_DEFAULTS[self.name][2] if self.eps is None else self.eps

    @property
    def GAMMA(self) -> float:
        """Factor of the curvature in Sophia's divisor."""
        return _OPTIM_DEFAULTS[self.name][3] if self.gamma is None else self.gamma
