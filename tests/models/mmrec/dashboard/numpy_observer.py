"""The dashboard's quantities from the float64 model of `tests/models/mmrec/numpy_model.py`."""

from collections import defaultdict
from typing import Any

import numpy as np

from tests.models.mmrec.loops import sigmoid
from tests.models.mmrec.numpy_model import NumpyModel


class WatchedModel(NumpyModel):
    """Notes down, token by token, what goes on in every layer."""

    def __init__(self, config: Any, params: Any) -> None:
        super().__init__(config, params)
        self.seen: Any = [defaultdict(list) for _ in range(config.num_layers)]

    def _memories(self, p, layer, u, real, start):
        seen, c = self.seen[layer], self.config
        logit = p["b_gamma"]
        if c.use_dpg:
            logit = logit + np.maximum(u @ p["dpg_down"]["kernel"], 0) @ p["dpg_up"]["kernel"]
        seen["gamma"].append(sigmoid(logit))
        before = 0 * self.h[layer] if start else self.h[layer].copy()
        result = super()._memories(p, layer, u, real, start)
        if c.gate == "state":
            seen["gate"].append(2 * sigmoid(p["w_g"] * before + p["c_g"]))
        elif c.gate == "input":
            separate = None if c.use_hem else p["project"]["i"]["kernel"]
            kernel = p["project"]["fused"]["kernel"][:, -c.E :] if c.use_hem else separate
            seen["gate"].append(2 * sigmoid(u @ kernel))
        seen["h"].append(self.h[layer].copy())
        seen["m"].append(self.m[layer].copy())
        return result

    def _long_term(self, p, layer, proj, h, real, start):
        self.seen[layer]["alpha"].append(sigmoid(proj["alpha"] + p["b_alpha"]))
        self.seen[layer]["beta"].append(sigmoid(proj["beta"]))
        return super()._long_term(p, layer, proj, h, real, start)


def watch(config: Any, params: Any, rows: list[np.ndarray]) -> list[list[dict[str, np.ndarray]]]:
    """What every row saw: [row][layer] -> name -> [T, ...]."""
    result = []
    for row in rows:
        model = WatchedModel(config, params)
        model.logits(row, np.ones(len(row), int))
        result.append([{name: np.array(x) for name, x in seen.items()} for seen in model.seen])
    return result
