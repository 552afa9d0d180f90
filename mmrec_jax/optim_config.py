"""The fields of the optimizer: `config.optim`."""

import dataclasses
from typing import Literal

from mmrec_jax.config_check import require

# Of each optimizer: b1, b2, eps, gamma. Muon's b1 is that of its momentum, its b2 that of the Adam
# which updates what is no matrix; 0 stands where an optimizer has no such number.
_DEFAULTS = {
    "adamw": (0.9, 0.95, 1e-8, 0.0),
    "sophia_g": (0.965, 0.99, 1e-12, 0.05),
    "sophia_h": (0.965, 0.99, 1e-12, 0.01),
    "lion": (0.9, 0.99, 0.0, 0.0),
    "muon": (0.95, 0.95, 1e-8, 0.0),
}


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its schedule.

    A field that is None has the default of the optimizer `name`; read the resolved number from the
    property with the same name in capitals (`B1`, `B2`, `EPS`, `GAMMA`).
    """

    # "sophia_g" and "sophia_h" divide by an estimate of the loss's curvature (arXiv 2305.14342):
    # g samples the Gauss-Newton diagonal from gradients, h the Hessian's from Hessian-vector
    # products. "lion" wants a third to a tenth of AdamW's learning rate, the others the same.
    name: Literal["adamw", "sophia_g", "sophia_h", "lion", "muon"] = "adamw"
    lr: float = 3e-3  # peak learning rate
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = 50
    final_lr_fraction: float = 0.1  # the schedule's floor as a fraction of `lr`
    b1: float | None = None  # decay of the momentum: 0.9; sophia 0.965, muon 0.95
    b2: float | None = None  # decay of the second moment: 0.95; of sophia's h 0.99; lion 0.99
    eps: float | None = None  # 1e-8; sophia 1e-12, the least divisor of its momentum
    gamma: float | None = None  # sophia: larger clips fewer coordinates; g 0.05, h 0.01
    weight_decay: float = 0.1  # decoupled; never on norms, biases, decays and gates
    clip_norm: float = 1.0  # of the global gradient norm; 0: no clipping
    hessian_every: int = 10  # k: sophia estimates the curvature in steps 1, 1 + k, 1 + 2 k, ...
    # Share of a batch's rows that it is estimated on: every n-th row, with n the largest divisor of
    # train.batch_size up to 1 / estimator_batch.
    estimator_batch: float = 0.5

    def __post_init__(self) -> None:
        require(self.lr > 0, "optim.lr", self.lr, "above 0")
        for name in ("warmup_steps", "weight_decay", "clip_norm"):
            require(getattr(self, name) >= 0, f"optim.{name}", getattr(self, name), "at least 0")
        for name in ("b1", "b2"):
            value = getattr(self, name)
            require(value is None or 0 <= value < 1, f"optim.{name}", value, "in [0, 1), or None")
        for name in ("eps", "gamma"):
            value = getattr(self, name)
            require(value is None or value > 0, f"optim.{name}", value, "above 0, or None")
        require(
            0 <= self.final_lr_fraction <= 1,
            "optim.final_lr_fraction",
            self.final_lr_fraction,
            "in [0, 1]",
        )
        require(self.hessian_every > 0, "optim.hessian_every", self.hessian_every, "at least 1")
        require(
            0 < self.estimator_batch <= 1,
            "optim.estimator_batch",
            self.estimator_batch,
            "in (0, 1]",
        )
        require(
            self.warmup_steps > 0 or not self.uses_hessian,
            "optim.warmup_steps",
            self.warmup_steps,
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
        return _DEFAULTS[self.name][0] if self.b1 is None else self.b1

    @property
    def B2(self) -> float:
        """Decay of the second moment, or of the curvature."""
        return _DEFAULTS[self.name][1] if self.b2 is None else self.b2

    @property
    def EPS(self) -> float:
        """What keeps the division finite."""
        return _DEFAULTS[self.name][2] if self.eps is None else self.eps

    @property
    def GAMMA(self) -> float:
        """Factor of the curvature in Sophia's divisor."""
        return _DEFAULTS[self.name][3] if self.gamma is None else self.gamma
