"""Reads rows of text with a model and measures its memories, piece by piece."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from mmrec_jax.models.mmrec.block import RECURRENCE
from mmrec_jax.models.mmrec.dashboard.totals import Totals
from mmrec_jax.models.mmrec.memory import delta_steps
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from mmrec_jax.typing import Array

# Numbers in the largest array of one piece, all layers and rows: 64 MiB in float32.
_PIECE_NUMBERS = 2**24


class Observer:
    """Measures what a model's memories do; compiled at the first call for each shape."""

    def __init__(self, model: MMRecLM) -> None:
        """Observes `model`, without dropout."""
        self.config = model.config

        def read(
            params: Any, tokens: Array, segment_ids: Array, state: MMRecState
        ) -> tuple[dict[str, Array], MMRecState]:
            (_, after, _), collected = model.apply(
                {"params": params}, tokens, state, segment_ids, mutable=[RECURRENCE]
            )
            recorded = dict(collected[RECURRENCE]["blocks"])
            if self.config.H:
                recorded["m_norm"] = self._norms(recorded, segment_ids, state.m)
                del recorded["k"], recorded["v"]
            return recorded, after

        self._read = jax.jit(read)

    def __call__(
        self, params: Any, inputs: NDArray[np.int32], segment_ids: NDArray[np.int32]
    ) -> Totals:
        """Reads rows that each hold one document from its beginning, padded behind its end.

        Args:
          params: on one device.
          inputs: tokens [B, T].
          segment_ids: 0 at padding, else a number of the document, [B, T].

        Returns:
          The sums over all tokens that are not padding.
        """
        config = self.config
        rows, length = inputs.shape
        width = max(config.E, config.H * max(config.S, config.K))
        most = max(1, _PIECE_NUMBERS // (config.num_layers * rows * width))
        pieces = -(-length // min(config.tokens_at_once, most))
        piece = -(-length // pieces)
        tail = ((0, 0), (0, pieces * piece - length))
        inputs, segment_ids = np.pad(inputs, tail), np.pad(segment_ids, tail)

        totals = Totals(config, jax.device_get(_gate(params)))
        state = zero_state(config, rows)
        for begin in range(0, pieces * piece, piece):
            places = np.s_[:, begin : begin + piece]
            recorded, after = self._read(params, inputs[places], segment_ids[places], state)
            on_host = jax.device_get(recorded)
            totals.add(on_host, jax.device_get(state.h), segment_ids[places] > 0, begin)
            state = after
        totals.finish(jax.device_get(state.m))
        return totals

    def _norms(self, recorded: dict[str, Array], segment_ids: Array, m0: Array) -> Array:
        """Frobenius norm of every memory after every token, [L, B, T, H].

        The chunkwise scan of the model forms M at the ends of its chunks only; here it is written
        token by token, from the same keys, values, decays and write strengths.
        """
        correct = self.config.memory == "delta"
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


def _gate(params: Any) -> Any:
    blocks = params["blocks"]
    return {"blocks": {name: blocks[name] for name in ("w_g", "c_g") if name in blocks}}
