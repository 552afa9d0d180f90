"""The recurrences as float64 NumPy loops over time, with their gradients derived by hand.

The independent references of the scan tests: no JAX, no parallel form, nothing shared with the
library. Arrays are [B, T, ...] as there.
"""

from collections.abc import Callable, Sequence

import numpy as np

Arrays = dict[str, np.ndarray]

# As users compile, for comparisons that count on the rounding of fused multiplications; the rest of
# the tests are compiled faster (`tests/conftest.py`).
OPTIMISED = {"xla_backend_optimization_level": 3}


def relative_error(actual: object, expected: object) -> float:
    """Largest absolute difference over the largest expected magnitude; NaN counts as infinite."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if not np.all(np.isfinite(actual)):
        return np.inf
    difference = np.max(np.abs(actual - expected), initial=0.0)
    scale = np.max(np.abs(expected), initial=0.0)
    return float(difference / scale) if scale > 0 else float(difference)


def assert_close(actual: object, expected: object, tolerance: float) -> None:
    """Compares two equal trees of dicts leaf by leaf with `relative_error`."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert actual.keys() == expected.keys()
        errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    else:
        errors = {"value": relative_error(actual, expected)}
    assert max(errors.values()) <= tolerance, errors


def slope(
    function: Callable[..., float], inputs: Sequence[np.ndarray], index: int, move: np.ndarray
) -> float:
    """The derivative along `move` of one input, by a central difference."""
    step, ends = 1e-6, []
    for sign in (1, -1):
        moved = list(inputs)
        moved[index] = inputs[index] + sign * step * move
        ends.append(function(*moved))
    return (ends[0] - ends[1]) / (2 * step)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Stable for any argument."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def linear_loop(
    a: np.ndarray, b: np.ndarray, h0: np.ndarray, reset: np.ndarray, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """`h_t = a_t h_{t-1} + b_t` and the last state in scan order."""
    h, carried = np.zeros_like(b), h0
    for t in _order(b.shape[1], reverse):
        carried = a[:, t] * np.where(reset[:, t, None], 0, carried) + b[:, t]
        h[:, t] = carried
    return h, carried


def linear_loop_gradient(
    a: np.ndarray,
    h0: np.ndarray,
    reset: np.ndarray,
    h: np.ndarray,
    g: np.ndarray,
    g_last: np.ndarray,
    reverse: bool = False,
) -> Arrays:
    """Gradients of `sum(g h) + sum(g_last h_last)`."""
    order = _order(a.shape[1], reverse)
    da, db, adjoint = np.zeros_like(a), np.zeros_like(a), g_last
    for i in reversed(range(len(order))):
        t = order[i]
        before = h[:, order[i - 1]] if i > 0 else h0
        cut = reset[:, t, None]
        adjoint = adjoint + g[:, t]
        db[:, t] = adjoint
        da[:, t] = np.where(cut, 0, adjoint * before)
        adjoint = np.where(cut, 0, adjoint * a[:, t])
    return {"a": da, "b": db, "h0": adjoint}


def gated_loop(
    gamma: np.ndarray,
    b: np.ndarray,
    w: np.ndarray,
    c: np.ndarray,
    h0: np.ndarray,
    reset: np.ndarray,
) -> np.ndarray:
    """`h_t = gamma_t h_{t-1} + b_t 2 sigmoid(w h_{t-1} + c)`."""
    h, carried = np.zeros_like(b), h0
    for t in range(b.shape[1]):
        before = np.where(reset[:, t, None], 0, carried)
        carried = gamma[:, t] * before + b[:, t] * 2 * sigmoid(w * before + c)
        h[:, t] = carried
    return h


def gated_loop_gradient(inputs: Arrays, h: np.ndarray, g: np.ndarray, g_last: np.ndarray) -> Arrays:
    """Gradients of `sum(g h) + sum(g_last h_last)`; `inputs` as the arguments of `gated_loop`."""
    gamma, b, w, c = (inputs[name] for name in ("gamma", "b", "w", "c"))
    d = {name: np.zeros_like(inputs[name]) for name in ("gamma", "b", "w", "c")}
    adjoint = g_last
    for t in reversed(range(b.shape[1])):
        keep = 1.0 - inputs["reset"][:, t, None]
        before = keep * (h[:, t - 1] if t > 0 else inputs["h0"])
        s = sigmoid(w * before + c)
        adjoint = adjoint + g[:, t]
        d["gamma"][:, t] = adjoint * before
        d["b"][:, t] = adjoint * 2 * s
        argument = adjoint * b[:, t] * 2 * s * (1 - s)
        d["w"] += np.sum(argument * before, axis=0)
        d["c"] += np.sum(argument, axis=0)
        adjoint = keep * (adjoint * gamma[:, t] + argument * w)
    return d | {"h0": adjoint}


def delta_loop(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    alpha: np.ndarray,
    beta: np.ndarray,
    m0: np.ndarray,
    reset: np.ndarray,
    error_correction: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """`M = alpha (I - beta k k^T) M + beta k v^T`, `r = M^T q`; without correction, no k k^T."""
    batch, length, heads, slots = k.shape
    r, m = np.zeros(v.shape), m0.astype(np.float64)
    for row in range(batch):
        for t in range(length):
            for head in range(heads):
                key, write = k[row, t, head], beta[row, t, head]
                erase = np.eye(slots)
                if error_correction:
                    erase = erase - write * np.outer(key, key)
                old = 0 * m[row, head] if reset[row, t] else m[row, head]
                new = alpha[row, t, head] * erase @ old + write * np.outer(key, v[row, t, head])
                m[row, head], r[row, t, head] = new, new.T @ q[row, t, head]
    return r, m


def delta_loop_gradient(
    inputs: Arrays,
    reset: np.ndarray,
    g: np.ndarray,
    g_last: np.ndarray,
    error_correction: bool = True,
) -> Arrays:
    """Gradients of `sum(g r) + sum(g_last m_last)`; `inputs` as the arguments of `delta_loop`."""
    q, k, v, alpha, beta, m = (inputs[name] for name in ("q", "k", "v", "alpha", "beta", "m0"))
    carried, length = [], k.shape[1]
    alpha, beta = alpha[..., None, None], beta[..., None, None]
    keep = 1.0 - reset[:, :, None, None, None]
    keys, values = k[..., :, None], v[..., None, :]
    for t in range(length):
        carried.append(keep[:, t] * m)
        kept = alpha[:, t] * carried[t]
        error = values[:, t] - error_correction * np.sum(keys[:, t] * kept, -2, keepdims=True)
        m = kept + beta[:, t] * keys[:, t] * error
    d = {name: np.zeros_like(inputs[name]) for name in ("q", "k", "v", "alpha", "beta")}
    adjoint = g_last
    for t in reversed(range(length)):
        kept = alpha[:, t] * carried[t]
        error = values[:, t] - error_correction * np.sum(keys[:, t] * kept, -2, keepdims=True)
        m = kept + beta[:, t] * keys[:, t] * error
        d["q"][:, t] = np.sum(m * g[:, t, :, None, :], -1)
        adjoint = adjoint + q[:, t, :, :, None] * g[:, t, :, None, :]
        derror = beta[:, t] * np.sum(adjoint * keys[:, t], -2, keepdims=True)
        d["v"][:, t] = derror[..., 0, :]
        d["beta"][:, t] = np.sum(adjoint * keys[:, t] * error, (-2, -1))
        d["k"][:, t] = np.sum(
            beta[:, t] * adjoint * error - error_correction * kept * derror, axis=-1
        )
        adjoint = adjoint - error_correction * keys[:, t] * derror
        d["alpha"][:, t] = np.sum(adjoint * carried[t], (-2, -1))
        adjoint = keep[:, t] * alpha[:, t] * adjoint
    return d | {"m0": adjoint}


def _order(length: int, reverse: bool) -> list[int]:
    return list(range(length))[::-1] if reverse else list(range(length))
