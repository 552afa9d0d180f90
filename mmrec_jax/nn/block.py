"""One MM-Rec block: short-term memory, long-term memory and feed-forward, each residual."""

import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.array_typing import Array, Float
from mmrec_jax.config import ModelConfig
from mmrec_jax.nn.decay import decay_and_multiplier, halflife_bias
from mmrec_jax.nn.layers import SwiGLU, dense, l2_normalise, rms_norm
from mmrec_jax.nn.memory import delta_scan, delta_steps
from mmrec_jax.nn.projection import InputProjection
from mmrec_jax.nn.recurrence import gated_scan
from mmrec_jax.nn.scan import linear_scan
from mmrec_jax.nn.state import Layout
from mmrec_jax.nn.uboo import StatePredictor

LayerState = tuple[Array, Array]  # h [B, E], M [B, H, S, K]


class Block(nn.Module):
    """`x, (h, M) -> x, (h, M), statistics` (the model specification's "One block")."""

    config: ModelConfig
    deterministic: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], state: LayerState, layout: Layout
    ) -> tuple[Array, tuple[LayerState, dict[str, Array]]]:
        """Reads T tokens.

        Args:
          x: residual stream, in the compute dtype.
          state: this layer's memories before the first token, float32.
          layout: real tokens and document starts.

        Returns:
          The residual stream, and the memories after the last token with scalar statistics.
        """
        config = self.config
        drop = nn.Dropout(config.dropout, deterministic=self.deterministic)
        u = rms_norm(config, "norm")(x)
        p = InputProjection(config, name="project")(u)
        h, h_last, statistics = self._short_term(u, p, state[0], layout)
        mixed, m_last = h.astype(config.dtype), state[1]
        if config.memory != "none":
            r, m_last = self._long_term(mixed, p, state[1], layout)
            mixed = jnp.concatenate([mixed, r], axis=-1)
        branch = dense(config, config.D, "out", residual=True)(mixed * nn.silu(p["g"]))
        x = x + drop(branch)
        x = x + drop(SwiGLU(config, name="ffn")(rms_norm(config, "ffn_norm")(x)))
        return x, ((h_last, m_last), statistics)

    def _short_term(
        self, u: Array, p: dict[str, Array], h0: Array, layout: Layout
    ) -> tuple[Array, Array, dict[str, Array]]:
        """DPG and the gated recurrence: `h [B, T, E]` and its last value, float32."""
        config = self.config
        bounds = (config.gamma_halflife_min, config.gamma_halflife_max)
        logits = self.param("b_gamma", halflife_bias(*bounds), (config.E,), jnp.float32)[None, None]
        if config.use_dpg:
            low_rank = nn.relu(dense(config, config.R, "dpg_down")(u))
            up = nn.Dense(
                config.E,
                use_bias=False,
                dtype=config.dtype,
                param_dtype=config.param_dtype,
                kernel_init=nn.initializers.normal(0.02),
                name="dpg_up",
            )
            logits = logits + up(low_rank).astype(jnp.float32)
        gamma, multiplier = decay_and_multiplier(logits)
        real, start = layout.real[..., None], layout.start[..., None]
        gamma = jnp.where(real, gamma, 1)
        b = jnp.where(start, 1, multiplier) * p["z"].astype(jnp.float32)
        b = jnp.where(real, b, 0)
        statistics: dict[str, Array] = {}
        if config.gate == "state":
            init = nn.initializers.normal(config.gate_init_scale)
            w = self.param("w_g", init, (config.E,), jnp.float32)
            c = self.param("c_g", nn.initializers.zeros, (config.E,), jnp.float32)
            solver: str = "newton" if config.scan == "parallel" else config.scan
            h, h_last, info = gated_scan(gamma, b, w, c, h0, reset=layout.start, backend=solver)
            statistics |= {f"newton_{name}": value for name, value in info.items()}
        else:
            if config.gate == "input":
                b = b * 2 * nn.sigmoid(p["i"].astype(jnp.float32))
            solver = "associative" if config.scan == "parallel" else config.scan
            h, h_last = linear_scan(gamma, b, h0, reset=layout.start, backend=solver)
        if config.use_uboo:
            predicted = StatePredictor(config, name="uboo")(h, h0, layout.real & ~layout.start)
            statistics |= {f"uboo_{name}": value for name, value in predicted.items()}
        return h, h_last, statistics

    def _long_term(
        self, h: Array, p: dict[str, Array], m0: Array, layout: Layout
    ) -> tuple[Array, Array]:
        """Writes and reads the memories: reads `[B, T, H K]` and the last matrices."""
        config = self.config
        batch, length = h.shape[:2]
        state_qk = dense(config, 2 * config.H * config.S, "qk")(rms_norm(config, "h_norm")(h))
        q, k = jnp.split(state_qk, 2, axis=-1)
        by_memory = (batch, length, config.H, -1)
        q = l2_normalise(nn.silu(p["q"] + q).reshape(by_memory)).astype(config.dtype)
        k = l2_normalise(nn.silu(p["k"] + k).reshape(by_memory)).astype(config.dtype)
        v = p["v"].reshape(by_memory)
        bounds = (config.alpha_halflife_min, config.alpha_halflife_max)
        b_alpha = self.param("b_alpha", halflife_bias(*bounds), (config.H,), jnp.float32)
        real = layout.real[..., None]
        alpha_logits = p["alpha"].astype(jnp.float32) + b_alpha[None, None]
        alpha = jnp.where(real, nn.sigmoid(alpha_logits), 1)
        beta = jnp.where(real, nn.sigmoid(p["beta"].astype(jnp.float32)), 0)
        memory = (q, k, v, alpha, beta, m0)
        delta = config.memory == "delta"
        if length == 1:
            r, m_last = delta_steps(*memory, reset=layout.start, error_correction=delta)
        else:
            r, m_last = delta_scan(
                *memory, reset=layout.start, chunk=config.chunk, error_correction=delta
            )
        r = rms_norm(config, "head_norm")(r)
        return r.reshape(batch, length, -1), m_last
