"""Sums over the tokens of some rows, from which every number of the dashboard follows."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.dashboard import quantities as q
from mmrec_jax.models.mmrec.dashboard.quantities import Numbers

_OCTAVES = 40  # of positions: more than a text can have


class Totals:
    """What `Observer` adds up, piece by piece, in memory that does not grow with the text.

    L layers, E channels, H long-term memories; bins as in `quantities`.
    """

    def __init__(self, config: MMRecConfig, params: Any) -> None:
        """Begins at zero; `params` gives the gate's weights and biases."""
        self.config = config
        self.tokens = 0
        self.sums: dict[str, Any] = defaultdict(float)
        self.worst: dict[str, Numbers] = {}  # of the solver, [L]
        self.rank: Numbers | None = None  # [L, H]
        self.gate: tuple[Numbers, Numbers] | None = None  # w_g and c_g, [L, E]
        if config.gate == "state":
            w, c = (np.asarray(params["blocks"][name], np.float32) for name in ("w_g", "c_g"))
            self.gate = (w, c)

    def add(
        self, recorded: dict[str, Numbers], before: Numbers, real: NDArray[np.bool_], begin: int
    ) -> None:
        """Adds one piece of every row.

        Args:
          recorded: the collection of `block.py`, [L, B, T, ...] each, and with long-term
            memories `m_norm [L, B, T, H]`, the Frobenius norm of M after each token.
          before: h before the piece, [L, B, E].
          real: which tokens count, [B, T].
          begin: tokens of each row in earlier pieces.
        """
        if not real.any():
            return
        add, number = self.sums, int(np.count_nonzero(real))
        self.tokens += number
        bins = q.octave(begin + 1 + np.broadcast_to(np.arange(real.shape[1]), real.shape)[real])
        add["positions"] += np.bincount(bins, minlength=_OCTAVES)

        h = recorded["h"][:, real]
        # A constant decay is recorded once.
        logits = np.broadcast_to(recorded["gamma_logits"], recorded["h"].shape)
        lost = q.forgetting(logits[:, real])
        add["gamma_lost"] += lost.sum(axis=1, dtype=np.float64)
        add["gamma_counts"] += q.count_half_lives(q.half_life(lost))
        add["h_square"] += _by_octave(np.mean(np.square(h), axis=-1, dtype=np.float64), bins)
        n = q.normalised(h)
        add["n_total"] += n.sum(axis=1, dtype=np.float64)
        add["n_square"] += np.square(n).sum(axis=1, dtype=np.float64)

        gate_logits = None
        if self.gate is not None:
            previous = np.concatenate([before[:, :, None], recorded["h"][:, :, :-1]], axis=2)
            w, c = (x[:, None] for x in self.gate)
            gate_logits = w * previous[:, real] + c
        elif "gate_logits" in recorded:
            gate_logits = recorded["gate_logits"][:, real].astype(np.float32)
        if gate_logits is not None:
            low, high = q.saturated(gate_logits)
            add["gate_low"] += number * low
            add["gate_high"] += number * high
            add["gate_counts"] += q.count_gates(gate_logits)

        if "beta" in recorded:
            lost = q.forgetting(recorded["alpha_logits"][:, real])
            beta = recorded["beta"][:, real]
            add["alpha_lost"] += lost.sum(axis=1, dtype=np.float64)
            add["alpha_counts"] += q.count_half_lives(q.half_life(lost))
            add["beta"] += beta.sum(axis=1, dtype=np.float64)
            add["beta_counts"] += q.count_writes(beta)
            add["m_square"] += _by_octave(
                np.square(recorded["m_norm"][:, real].astype(np.float64)), bins
            )
        for name in ("error", "still"):  # of UBOO
            if name in recorded:
                add[name] += recorded[name].astype(np.float64)
        for name in ("newton_iterations", "newton_residual", "newton_fell_back"):
            if name in recorded:
                self.worst[name] = np.maximum(self.worst.get(name, 0), recorded[name])

    def finish(self, m: Numbers) -> None:
        """Takes the memories at the end of every row, [L, B, H, S, K]."""
        if self.config.H:
            self.rank = q.effective_rank(m.astype(np.float64)).mean(axis=1)


def _by_octave(x: Numbers, bins: NDArray[np.int64]) -> Numbers:
    """Sums over the tokens of each bin: [L, N, ...] -> [L, bins, ...]."""
    total = np.zeros((len(x), _OCTAVES, *x.shape[2:]))
    for index in np.unique(bins):
        total[:, index] = x[:, bins == index].sum(axis=1)
    return total
