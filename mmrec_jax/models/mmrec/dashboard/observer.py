"""Reads rows of text with a model and adds up what its memories do, chunk by chunk."""

from collections import defaultdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.models.mmrec.block import RECURRENCE
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.dashboard import quantities as q
from mmrec_jax.models.mmrec.dashboard.quantities import Numbers
from mmrec_jax.models.mmrec.memory import delta_steps
from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.typing import Array

# Numbers in the largest array of one chunk, all layers and rows: 64 MiB in float32.
_CHUNK_NUMBERS = 2**24
_OCTAVES = 40  # of positions: more than a text can have


def observe(
    model: LanguageModel,
    params: Params,
    inputs: NDArray[np.int32],
    segment_ids: NDArray[np.int32],
) -> "Accumulator":
    """Reads rows that each hold one document from its beginning, padded behind its end.

    Args:
      model: MM-Rec.
      params: its parameters.
      inputs: tokens [B, T].
      segment_ids: 0 at padding, else a number of the document, [B, T].

    Returns:
      The sums over all tokens that are not padding.
    """
    config: Any = model.config
    rows, length = inputs.shape
    width = max(config.E, config.H * max(config.S, config.K))
    most = max(1, _CHUNK_NUMBERS // (config.num_layers * rows * width))
    chunks = -(-length // min(config.chunk_length, most))
    chunk = -(-length // chunks)
    tail = ((0, 0), (0, chunks * chunk - length))
    inputs, segment_ids = np.pad(inputs, tail), np.pad(segment_ids, tail)

    accumulator = Accumulator(config, params)
    state = model.initial_state(rows)
    for begin in range(0, chunks * chunk, chunk):
        now = np.s_[:, begin : begin + chunk]
        recorded, after = _read(model, params, inputs[now], state, segment_ids[now])
        on_host = jax.device_get(recorded)
        accumulator.add(on_host, jax.device_get(state.h), segment_ids[now] > 0, begin)
        state = after
    accumulator.finish(jax.device_get(state.m))
    return accumulator


@jax.jit
def _read(
    model: LanguageModel, params: Params, tokens: Array, state: MMRecState, segment_ids: Array
) -> tuple[dict[str, Array], MMRecState]:
    config: Any = model.config
    output = model.apply(params, tokens, state, segment_ids, capture=(RECURRENCE,))
    captured: Any = output.captured
    recorded = dict(captured[RECURRENCE]["blocks"])
    if config.H:
        recorded["m_norm"] = _norms(config, recorded, segment_ids, state.m)
        del recorded["k"], recorded["v"]
    return recorded, output.state


def _norms(config: MMRecConfig, recorded: dict[str, Array], segment_ids: Array, m0: Array) -> Array:
    """Frobenius norm of every memory after every token, [L, B, T, H].

    The chunkwise scan of the model forms M at the ends of its chunks only; here it is written
    token by token, from the same keys, values, decays and write strengths.
    """
    correct = config.memory == "delta"
    real = (segment_ids > 0)[None, ..., None]
    alpha = jnp.where(real, jax.nn.sigmoid(recorded["alpha_logits"]), 1)

    def step(m: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
        k, v, alpha, beta = (x[:, None] for x in at)
        _, m = delta_steps(k, k, v, alpha, beta, m, error_correction=correct)
        return m, jnp.sqrt(jnp.sum(jnp.square(m), axis=(-2, -1)))

    # Layers and rows are alike here.
    by_time = [
        x.reshape(-1, *x.shape[2:]).swapaxes(0, 1)
        for x in (recorded["k"], recorded["v"], alpha, recorded["beta"])
    ]
    _, norms = jax.lax.scan(step, m0.reshape(-1, *m0.shape[2:]), tuple(by_time))
    return norms.swapaxes(0, 1).reshape(recorded["beta"].shape)


class Accumulator:
    """What `observe` adds up, chunk by chunk, in memory that does not grow with the text.

    L layers, E channels, H long-term memories; bins as in `quantities`.
    """

    def __init__(self, config: MMRecConfig, params: Params) -> None:
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
        """Adds one chunk of every row.

        Args:
          recorded: the collection of `block.py`, [L, B, T, ...] each, and with long-term
            memories `m_norm [L, B, T, H]`, the Frobenius norm of M after each token.
          before: h before the chunk, [L, B, E].
          real: which tokens count, [B, T].
          begin: tokens of each row in earlier chunks.
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
