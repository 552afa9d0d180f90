"""Reads rows of text with a model and adds up what its memories do, chunk by chunk.

The quantities are pure functions of NumPy arrays, on the host.
"""

from collections import defaultdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.models.mmrec.block import RECURRENCE
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.memory import delta_steps
from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.typing import Array

Numbers = NDArray[np.floating]

# Edges of histograms; values outside fall in the outermost bin.
LOG2_HALF_LIFE_EDGES: Numbers = np.arange(-3, 17.5, 0.5)
WRITE_EDGES: Numbers = np.linspace(0, 1, 21)
GATE_EDGES: Numbers = np.linspace(0, 2, 41)

# A gate 2 sigmoid(x) is below 0.1 or above 1.9 where |x| is beyond this.
_SATURATED_LOGIT = float(np.log(19.0))


def forgetting(logits: Numbers) -> Numbers:
    """`-log sigmoid(logits)`: how much of the log of a state is lost with each token, above 0.

    From the logits and not from the decay, whose float32 value near 1 has few digits left.
    """
    return np.logaddexp(0, -logits)


def half_life(lost: Numbers) -> Numbers:
    """Tokens after which half is left, if each token loses `lost` of the log; infinite for 0."""
    with np.errstate(divide="ignore"):
        return np.log(2.0) / np.asarray(lost)


def histogram(x: Numbers, edges: Numbers) -> NDArray[np.int64]:
    """Counts in the bins between evenly spaced edges: [L, ...] -> [L, bins]."""
    layers, bins = len(x), len(edges) - 1
    at = np.nan_to_num((x - edges[0]) * (bins / (edges[-1] - edges[0])))
    index = np.clip(at, 0, bins - 1).astype(np.int64).reshape(layers, -1)
    index += bins * np.arange(layers)[:, None]
    return np.bincount(index.ravel(), minlength=layers * bins).reshape(layers, bins)


def effective_rank(m: Numbers) -> Numbers:
    """The exponential of the entropy of the normalised singular values (Roy and Vetterli 2007).

    Between 1 (one direction holds all) and min(S, K) (all hold the same), [..., S, K] -> [...]; 0
    for a matrix of zeros, NaN for one that is not finite.
    """
    finite = np.all(np.isfinite(m), axis=(-2, -1))
    values = np.linalg.svd(np.where(finite[..., None, None], m, 0.0), compute_uv=False)
    total = values.sum(axis=-1)
    share = values / np.where(total > 0, total, 1)[..., None]
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=-1)
    return np.where(finite, np.where(total > 0, np.exp(entropy), 0), np.nan)


# Numbers in the largest array of one chunk, all layers and rows: 64 MiB in float32.
_CHUNK_NUMBERS = 2**24
_OCTAVES = 40  # of positions: more than a text can have


def observe(
    model: LanguageModel,
    params: Params,
    inputs: NDArray[np.int32],
    segment_ids: NDArray[np.int32],
) -> "Accumulator":
    """The sums over all tokens [B, T] of rows that each hold one document from its beginning.

    `segment_ids` [B, T] are 0 at the padding after it, else a number of the document.
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
        on_host, before = jax.device_get((recorded, state.h))
        accumulator.add(on_host, before, segment_ids[now] > 0, begin)
        state = after
    if config.H:
        last = jax.device_get(state.m).astype(np.float64)
        accumulator.rank = effective_rank(last).mean(axis=1)
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
    real = (segment_ids > 0)[None, ..., None]
    alpha = jnp.where(real, jax.nn.sigmoid(recorded["alpha_logits"]), 1)

    def step(m: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
        k, v, alpha, beta = (x[:, None] for x in at)
        _, m = delta_steps(k, k, v, alpha, beta, m, error_correction=config.memory == "delta")
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

    L layers, E channels, H long-term memories; bins as in the functions above.
    """

    def __init__(self, config: MMRecConfig, params: Params) -> None:
        """Begins at zero; `params` gives the gate's weights and biases."""
        self.config = config
        self.tokens = 0
        self.sums: dict[str, Any] = defaultdict(float)
        self.worst: dict[str, Numbers] = {}  # of the solver, [L]
        self.rank: Numbers | None = None  # [L, H], at the end of the rows
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
        add = self.sums
        self.tokens += int(np.count_nonzero(real))
        # Octave i holds the positions 2^i to 2^(i+1) - 1; 1 is a document's first token.
        positions = begin + 1 + np.broadcast_to(np.arange(real.shape[1]), real.shape)[real]
        octaves = np.frexp(positions)[1].astype(np.int64) - 1
        add["positions"] += np.bincount(octaves, minlength=_OCTAVES)

        # A constant decay is recorded once.
        logits = np.broadcast_to(recorded["gamma_logits"], recorded["h"].shape)
        self._add_decay("gamma", logits[:, real])
        h = recorded["h"][:, real]
        mean_square = np.mean(np.square(h), axis=-1, dtype=np.float64)
        add["h_square"] += _by_octave(np.asarray(mean_square), octaves)
        n = h / np.sqrt(np.mean(np.square(h), axis=-1, keepdims=True) + 1e-6)
        add["n_total"] += n.sum(axis=1, dtype=np.float64)
        add["n_square"] += np.square(n).sum(axis=1, dtype=np.float64)

        gate_logits = recorded.get("gate_logits")
        if gate_logits is not None:
            gate_logits = gate_logits[:, real].astype(np.float32)
        if self.gate is not None:
            previous = np.concatenate([before[:, :, None], recorded["h"][:, :, :-1]], axis=2)
            w, c = (x[:, None] for x in self.gate)
            gate_logits = w * previous[:, real] + c
        if gate_logits is not None:
            add["gate_low"] += np.mean(gate_logits < -_SATURATED_LOGIT, axis=2).sum(axis=1)
            add["gate_high"] += np.mean(gate_logits > _SATURATED_LOGIT, axis=2).sum(axis=1)
            add["gate_counts"] += histogram(2 * np.exp(-forgetting(gate_logits)), GATE_EDGES)

        if "beta" in recorded:
            self._add_decay("alpha", recorded["alpha_logits"][:, real])
            beta = recorded["beta"][:, real]
            add["beta"] += beta.sum(axis=1, dtype=np.float64)
            add["write_counts"] += histogram(beta, WRITE_EDGES)
            norms = recorded["m_norm"][:, real].astype(np.float64)
            add["m_square"] += _by_octave(np.square(norms), octaves)
        for name in ("newton_iterations", "newton_residual", "newton_fell_back"):
            if name in recorded:
                self.worst[name] = np.maximum(self.worst.get(name, 0), recorded[name])

    def _add_decay(self, name: str, logits: Numbers) -> None:
        lost = forgetting(logits)
        self.sums[f"{name}_lost"] += lost.sum(axis=1, dtype=np.float64)
        with np.errstate(divide="ignore"):
            half_lives = np.log2(half_life(lost))
        self.sums[f"{name}_counts"] += histogram(half_lives, LOG2_HALF_LIFE_EDGES)


def _by_octave(x: Numbers, octaves: NDArray[np.int64]) -> Numbers:
    """Sums over the tokens of each octave: [L, N, ...] -> [L, octaves, ...]."""
    total = np.zeros((len(x), _OCTAVES, *x.shape[2:]))
    for index in np.unique(octaves):
        total[:, index] = x[:, octaves == index].sum(axis=1)
    return total
