"""The quantities of the dashboard, each a pure function of arrays (NumPy, on the host)."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]

# Half-lives are counted in half octaves of tokens; what lies outside is in the outermost bin.
HALF_LIFE_EDGES: Numbers = 2.0 ** np.arange(-3, 17.5, 0.5)
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


def count_half_lives(half_lives: Numbers) -> NDArray[np.int64]:
    """How many lie in each bin of `HALF_LIFE_EDGES`: [L, ...] -> [L, bins]."""
    with np.errstate(divide="ignore"):
        index = (np.log2(half_lives) - np.log2(HALF_LIFE_EDGES[0])) * 2
    return _count(index, len(HALF_LIFE_EDGES) - 1)


def count_writes(beta: Numbers) -> NDArray[np.int64]:
    """How many lie in each bin of `WRITE_EDGES`: [L, ...] -> [L, bins]."""
    bins = len(WRITE_EDGES) - 1
    return _count(beta * bins, bins)


def count_gates(logits: Numbers) -> NDArray[np.int64]:
    """How many gates 2 sigmoid(logits) lie in each bin of `GATE_EDGES`: [L, ...] -> [L, bins]."""
    bins = len(GATE_EDGES) - 1
    return _count(np.exp(-np.logaddexp(0, -logits)) * bins, bins)


def saturated(logits: Numbers) -> tuple[Numbers, Numbers]:
    """Shares of gates 2 sigmoid(logits) below 0.1 and above 1.9: [L, ...] -> [L] each."""
    axes = tuple(range(1, logits.ndim))
    low, high = logits < -_SATURATED_LOGIT, logits > _SATURATED_LOGIT
    return np.mean(low, axis=axes), np.mean(high, axis=axes)


def normalised(h: Numbers) -> Numbers:
    """`h` divided by its root mean square over the last axis (RMSNorm without a scale)."""
    return h / np.sqrt(np.mean(np.square(h), axis=-1, keepdims=True) + 1e-6)


def effective_rank(m: Numbers) -> Numbers:
    """The exponential of the entropy of the normalised singular values (Roy and Vetterli 2007).

    Between 1 (one direction holds all) and min(S, K) (all hold the same).

    Args:
      m: matrices [..., S, K].

    Returns:
      [...]; 0 for a matrix of zeros, NaN for one that is not finite.
    """
    finite = np.all(np.isfinite(m), axis=(-2, -1))
    values = np.linalg.svd(np.where(finite[..., None, None], m, 0.0), compute_uv=False)
    total = values.sum(axis=-1)
    share = values / np.where(total > 0, total, 1)[..., None]
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=-1)
    return np.where(finite, np.where(total > 0, np.exp(entropy), 0), np.nan)


def octave(position: NDArray[np.integer]) -> NDArray[np.int64]:
    """The bin of a position (1 is a document's first token): bin i holds 2^i to 2^(i+1) - 1."""
    return np.frexp(position)[1].astype(np.int64) - 1


def _count(at: Numbers, bins: int) -> NDArray[np.int64]:
    layers = len(at)
    index = np.clip(np.nan_to_num(at), 0, bins - 1).astype(np.int64).reshape(layers, -1)
    index += bins * np.arange(layers)[:, None]
    return np.bincount(index.ravel(), minlength=layers * bins).reshape(layers, bins)
