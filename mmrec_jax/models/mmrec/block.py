"""One MM-Rec block: short-term memory, long-term memory and feed-forward, each residual."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import DenyList

from mmrec_jax.models import sequence
from mmrec_jax.models.layout import Layout
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.delta_parts import delta_scan_of_row
from mmrec_jax.models.mmrec.layers import (
    DROPOUT_MASK,
    Dropout,
    InputProjection,
    SwiGLU,
    decay_and_multiplier,
    dense,
    halflife_bias,
    l2_normalise,
    rms_norm,
)
from mmrec_jax.models.mmrec.memory import delta_steps
from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.models.partition import split_rows
from mmrec_jax.typing import Array, Float

LayerState = tuple[Array, Array]  # h [B, E], M [B, H, S, K]

# Collections in which a block leaves what its memories did, its short-term states alone, and what
# the long-term memory was told, if `mutable` asks for them.
RECURRENCE, STATES, RECALL = "recurrence", "states", "recall"


class Block(nn.Module):
    """`x, (h, M) -> x, (h, M), statistics` (the model specification's "One block")."""

    config: MMRecConfig
    deterministic: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], state: LayerState, layout: Layout
    ) -> tuple[Array, tuple[LayerState, dict[str, Array]]]:
        """Processes T tokens, `time_chunk` at a time.

        The backward pass recomputes what `remat` says one chunk at a time from the memories at its
        beginning, so the temporary memory is that of one chunk, whatever T is.

        Args:
          x: residual stream, in the compute dtype.
          state: this layer's memories before the first token, float32.
          layout: real tokens and document starts.

        With `mutable=["recurrence"]` that collection holds `gamma_logits [B, T, E]` (B = T = 1
        where the decay is constant), `h [B, T, E]`, `gate_logits [B, T, E]` (gate="input"), `k [B,
        T, H, S]`, `v [B, T, H, K]`, `alpha_logits` and `beta [B, T, H]`, and the solver's
        statistics; with a leading axis of layers, followed by one of chunks where T is
        more than `time_chunk` (T is then that of a chunk).

        Returns:
          The residual stream, and the memories after the last token with scalar statistics.
        """
        forward = Block._forward
        if self.config.remat != "none":
            policies = jax.checkpoint_policies
            kept = policies.save_from_both_policies(
                policies.dots_saveable, policies.save_only_these_names(DROPOUT_MASK)
            )
            policy = kept if self.config.remat == "dots" else None
            forward = nn.remat(Block._forward, prevent_cse=False, policy=policy)
        length = x.shape[1]
        # Even chunks; what the last one lacks is padding, which leaves the memories untouched.
        width = self.config.row_block(length)
        chunks = -(-length // width)
        if chunks == 1:
            return forward(self, x, state, layout.real, layout.start)

        def split(y: Array) -> Array:
            y = jnp.pad(y, [(0, 0), (0, chunks * width - length)] + [(0, 0)] * (y.ndim - 2))
            return y.reshape(y.shape[0], chunks, width, *y.shape[2:]).swapaxes(0, 1)

        def step(
            block: Block, state: LayerState, chunk: tuple[Array, ...]
        ) -> tuple[LayerState, tuple[Array, dict[str, Array]]]:
            x, (state, statistics) = forward(block, chunk[0], state, *chunk[1:])
            return state, (x, statistics)

        over_time = nn.scan(
            step,
            variable_broadcast=DenyList((RECURRENCE, STATES, RECALL)),
            variable_axes={RECURRENCE: 0, STATES: 0, RECALL: 0},
            split_rngs={"params": False, "dropout": True},
            # Parameters are made in an extra trace: none is needed where they are there.
            check_constancy_invariants=self.is_initializing(),
        )
        state, (x, statistics) = over_time(
            self, state, tuple(split(y) for y in (x, layout.real, layout.start))
        )
        x = x.swapaxes(0, 1).reshape(x.shape[1], chunks * width, -1)[:, :length]
        return x, (state, jax.tree.map(jnp.max, statistics))

    def _forward(
        self, x: Array, state: LayerState, real: Array, start: Array
    ) -> tuple[Array, tuple[LayerState, dict[str, Array]]]:
        config = self.config
        drop = Dropout(config.dropout, self.deterministic)
        u = rms_norm(config, "norm")(x)
        p = InputProjection(config, name="project")(u)
        h, h_last, statistics = self._short_term(u, p, state[0], real, start)
        mixed, m_last = h.astype(config.dtype), state[1]
        if config.memory != "none":
            r, m_last = self._long_term(h, p, state, real, start)
            mixed = jnp.concatenate([mixed, r], axis=-1)
        branch = dense(config, config.D, "out", residual=True)(mixed * nn.silu(p["g"]))
        x = split_rows(x + drop(branch))
        x = x + drop(SwiGLU(config, name="ffn")(rms_norm(config, "ffn_norm")(x)))
        return split_rows(x), ((h_last, m_last), statistics)

    def _short_term(
        self, u: Array, p: dict[str, Array], h0: Array, real: Array, start: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """DPG and the gated recurrence: `h [B, T, E]` and its last value, float32."""
        config = self.config
        bounds = (config.gamma_halflife_min, config.gamma_halflife_max)
        bias = self.param("b_gamma", halflife_bias(*bounds), (config.E,), config.state_dtype)
        logits = bias[None, None]
        if config.use_dpg:
            low_rank = nn.relu(dense(config, config.R, "dpg_down")(u))
            up = dense(config, config.E, "dpg_up", init=nn.initializers.normal(0.02))
            logits = logits + up(low_rank).astype(config.state_dtype)
        self._record({"gamma_logits": logits})
        gamma, multiplier = decay_and_multiplier(logits)
        gamma = jnp.where(real[..., None], gamma, 1)
        b = jnp.where(start[..., None], 1, multiplier) * p["z"].astype(config.state_dtype)
        b = jnp.where(real[..., None], b, 0)
        statistics: dict[str, Array] = {}
        if config.gate == "state":
            init = nn.initializers.normal(config.gate_init_scale)
            w = self.param("w_g", init, (config.E,), config.state_dtype)
            c = self.param("c_g", nn.initializers.zeros, (config.E,), config.state_dtype)
            solver: str = "newton" if config.scan == "parallel" else config.scan
            h, h_last, info = gated_scan(
                gamma, b, w, c, h0, reset=start, backend=solver, passes=config.newton_passes
            )
            statistics |= {f"newton_{name}": value for name, value in info.items()}
        else:
            if config.gate == "input":
                self._record({"gate_logits": p["i"]})
                b = b * 2 * nn.sigmoid(p["i"].astype(config.state_dtype))
            solver = "associative" if config.scan == "parallel" else config.scan
            h, h_last = linear_scan(gamma, b, h0, reset=start, backend=solver)
        self._record({"h": h, **statistics})
        self._record({"h": h}, STATES)
        return h, h_last, statistics

    def _long_term(
        self, h: Array, p: dict[str, Array], state: LayerState, real: Array, start: Array
    ) -> tuple[Array, Array]:
        """Writes and reads the memories: reads `[B, T, H K]` and the last matrices."""
        config = self.config
        batch, length = h.shape[:2]
        by_memory = (batch, length, config.H, -1)
        q, k = (x.reshape(by_memory) for x in self._addresses(h, p, state[0], start))
        v = p["v"].reshape(by_memory)
        bounds = (config.alpha_halflife_min, config.alpha_halflife_max)
        b_alpha = self.param("b_alpha", halflife_bias(*bounds), (config.H,), config.state_dtype)
        alpha_logits = p["alpha"].astype(config.state_dtype) + b_alpha[None, None]
        alpha = jnp.where(real[..., None], nn.sigmoid(alpha_logits), 1)
        beta = jnp.where(real[..., None], nn.sigmoid(p["beta"].astype(config.state_dtype)), 0)
        self._record({"k": k, "v": v, "alpha_logits": alpha_logits, "beta": beta})
        written = {"k": k, "v": v, "alpha": alpha, "beta": beta, "reset": start}
        self._record(written, RECALL)
        memory = (q, k, v, alpha, beta, state[1])
        delta = config.memory == "delta"
        if length == 1 and sequence.parts() == 1:
            r, m_last = delta_steps(*memory, reset=start, error_correction=delta)
        else:
            r, m_last = delta_scan_of_row(
                *memory, reset=start, chunk=config.chunk, error_correction=delta
            )
        r = rms_norm(config, "head_norm", config.head_norm_epsilon)(r)
        return r.reshape(batch, length, -1), m_last

    def _addresses(
        self, h: Array, p: dict[str, Array], h0: Array, start: Array
    ) -> tuple[Array, Array]:
        """Queries and keys `[B, T, H S]`, each of the H of length 1 or zero."""
        config = self.config
        norm, width = rms_norm(config, "h_norm"), config.H * config.S

        def unit(x: Array) -> Array:
            x = nn.silu(x)
            memories = l2_normalise(x.reshape(*x.shape[:-1], config.H, config.S))
            return memories.astype(config.dtype).reshape(x.shape)

        tokens = config.addresses == "tokens"
        project = dense(config, (2 if tokens else 1) * width, "qk")
        q = project(norm(h.astype(config.dtype)))
        if tokens:
            q, k = jnp.split(q, 2, axis=-1)
            return unit(p["q"] + q), unit(p["k"] + k)
        q, before = unit(q), unit(project(norm(h0[:, None].astype(config.dtype))))
        k = sequence.shift(q, before[:, 0])
        return q, jnp.where(start[..., None], 0, k)

    def _record(self, values: dict[str, Array], collection: str = RECURRENCE) -> None:
        """Leaves values in a collection; no operation where nobody asks for it."""
        if self.is_mutable_collection(collection) and not self.is_initializing():
            for name, value in values.items():
                self.put_variable(collection, name, value)
