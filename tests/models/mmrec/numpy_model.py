"""The whole model, written from its specification in float64 NumPy, one token at a time.

The independent reference of `MMRecLM`: it reads the same parameters and shares no code with it.
Documents are told apart by `segment_ids` as in the library (0 is padding).
"""

from typing import Any

import numpy as np

from mmrec_jax.models.mmrec.config import MMRecConfig
from tests.models.mmrec.loops import sigmoid

_COLUMNS = ("z", "v", "g", "q", "k", "beta", "alpha", "i")


class NumpyModel:
    """One row of text: call `read` token by token, or `logits` on a whole row."""

    def __init__(self, config: MMRecConfig, params: dict[str, Any]) -> None:
        self.config = config
        self.p = _to_float64(params)
        self.segment, self.position = 0, 0
        c = config
        self.h = np.zeros((c.num_layers, c.E))
        self.m = np.zeros((c.num_layers, c.H, c.S, c.K))
        self.states: list[np.ndarray] = []  # h [L, E] after each token

    def logits(self, tokens: np.ndarray, segment_ids: np.ndarray) -> np.ndarray:
        """[T] -> [T, V]."""
        return np.stack([self.read(t, s) for t, s in zip(tokens, segment_ids, strict=True)])

    def read(self, token: int, segment: int) -> np.ndarray:
        """Reads one token of document `segment` and returns the logits of the next."""
        real = segment > 0
        start = real and segment != self.segment
        if real:
            self.segment = int(segment)
            self.position = 1 if start else self.position + 1
        x = self.p["embed"]["embedding"][token]
        for layer in range(self.config.num_layers):
            p = _layer(self.p["blocks"], layer)
            x = x + self._memories(p, layer, _rms(x) * p["norm"]["scale"], real, start)
            x = x + _swiglu(p["ffn"], _rms(x) * p["ffn_norm"]["scale"])
        self.states.append(self.h.copy())
        x = _rms(x) * self.p["final_norm"]["scale"]
        return self.p["embed"]["embedding"] @ x

    def _memories(
        self, p: dict[str, Any], layer: int, u: np.ndarray, real: bool, start: bool
    ) -> np.ndarray:
        c = self.config
        proj = _projections(c, p["project"], u)
        logit = p["b_gamma"]
        if c.use_dpg:
            low = np.maximum(u @ p["dpg_down"]["kernel"], 0)
            logit = logit + low @ p["dpg_up"]["kernel"]
        gamma = sigmoid(logit)
        h = 0 * self.h[layer] if start else self.h[layer].copy()
        b = proj["z"] * (1 if start else np.sqrt(1 - gamma**2))
        if c.gate == "state":
            b = b * 2 * sigmoid(p["w_g"] * h + p["c_g"])
        elif c.gate == "input":
            b = b * 2 * sigmoid(proj["i"])
        before = h
        if real:
            h = gamma * h + b
            self.h[layer] = h
        mixed = h
        if c.memory != "none":
            reads = self._long_term(p, layer, proj, (before, h), real, start)
            mixed = np.concatenate([h, reads])
        silu = proj["g"] * sigmoid(proj["g"])
        return (mixed * silu) @ p["out"]["kernel"]

    def _long_term(
        self,
        p: dict[str, Any],
        layer: int,
        proj: dict[str, np.ndarray],
        states: tuple[np.ndarray, np.ndarray],
        real: bool,
        start: bool,
    ) -> np.ndarray:
        c = self.config
        before, now = ((_rms(h) * p["h_norm"]["scale"]) @ p["qk"]["kernel"] for h in states)
        q, k = (now, before) if c.addresses == "states" else np.split(now, 2)
        if c.addresses == "tokens":
            q, k = q + proj["q"], k + proj["k"]
        reads = []
        for i in range(c.H):
            slots, values = slice(i * c.S, (i + 1) * c.S), slice(i * c.K, (i + 1) * c.K)
            query = _unit(_silu(q[slots]))
            key = _unit(_silu(k[slots]))
            alpha = sigmoid(proj["alpha"][i] + p["b_alpha"][i])
            beta = sigmoid(proj["beta"][i])
            m = 0 * self.m[layer, i] if start else self.m[layer, i]
            if real:
                erase = np.eye(c.S)
                if c.memory == "delta":
                    erase = erase - beta * np.outer(key, key)
                m = alpha * erase @ m + beta * np.outer(key, proj["v"][values])
                self.m[layer, i] = m
            reads.append(_rms(m.T @ query, c.head_norm_epsilon) * p["head_norm"]["scale"])
        return np.concatenate(reads)


def _projections(c: MMRecConfig, p: dict[str, Any], u: np.ndarray) -> dict[str, np.ndarray]:
    if not c.use_hem:
        return {name: u @ matrix["kernel"] for name, matrix in p.items()}
    keys, values = (0 if c.addresses == "states" else c.H * c.S), c.H * c.K
    widths = [c.E, values, c.E + values, keys, keys, c.H, c.H]
    widths += [c.E] if c.gate == "input" else []
    parts = np.split(u @ p["fused"]["kernel"], np.cumsum(widths)[:-1])
    return dict(zip(_COLUMNS, parts, strict=False))


def _swiglu(p: dict[str, Any], x: np.ndarray) -> np.ndarray:
    gate, value = np.split(x @ p["gate_value"]["kernel"], 2)
    return (_silu(gate) * value) @ p["down"]["kernel"]


def _silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def _rms(x: np.ndarray, epsilon: float = 1e-6) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2) + epsilon)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.sum(x**2) + 1e-6)


def _to_float64(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _to_float64(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def _layer(tree: Any, index: int) -> Any:
    if isinstance(tree, dict):
        return {name: _layer(value, index) for name, value in tree.items()}
    return tree[index]
