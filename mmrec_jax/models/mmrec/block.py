"""One MM-Rec block: short-term memory, long-term memory and feed-forward, each residual."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import DenyList

from mmrec_jax.models import sequence
from mmrec_jax.models.api import Params, Probe
from mmrec_jax.models.layout import Layout
from mmrec_jax.models.linen import recomputed
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
from mmrec_jax.models.mmrec.memory import Told, delta_steps, recall
from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.models.partition import split_rows
from mmrec_jax.typing import Array, Float

LayerState = tuple[Array, Array]  # h [B, E], M [B, H, S, K]
Probes = dict[str, Probe]
Sums = dict[str, dict[str, Array]]  # of each probe
# From chunk to chunk of a row: the memories, and what "recall" needs of the tokens before.
Carry = tuple[LayerState, Told | None]

# The collection in which a block leaves what its memories did, if `mutable` asks for it.
RECURRENCE = "recurrence"


class Block(nn.Module):
    """`x, (h, M) -> x, (h, M), statistics` (docs/how-it-works.md, "One block")."""

    config: MMRecConfig
    deterministic: bool = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        state: LayerState,
        layout: Layout,
        own: dict[str, Params],
        probes: Probes,
    ) -> tuple[Array, tuple[LayerState, dict[str, Array], Sums]]:
        """Processes T tokens, `time_chunk` at a time.

        The backward pass recomputes what `remat` says one chunk at a time from the memories at its
        beginning, so the temporary memory is that of one chunk, whatever T is.

        Args:
          x: residual stream, in the compute dtype.
          state: this layer's memories before the first token, float32.
          layout: real tokens and document starts.
          own: the parameters of each probe for this layer.
          probes: with their rows.

        With `mutable=["recurrence"]` that collection holds `gamma_logits [B, T, E]` (B = T = 1
        where the decay is constant), `h [B, T, E]`, `gate_logits [B, T, E]` (gate="input"), `k [B,
        T, H, S]`, `v [B, T, H, K]`, `alpha_logits` and `beta [B, T, H]`, and the solver's
        statistics; with a leading axis of layers, followed by one of chunks where T is
        more than `time_chunk` (T is then that of a chunk).

        Returns:
          The residual stream; and the memories after the last token, scalar statistics, and what
          the probes have summed.
        """
        products = jax.checkpoint_policies.dots_saveable
        forward = recomputed(Block._forward, self.config.remat, products, DROPOUT_MASK)
        length = x.shape[1]
        # Even chunks; what the last one lacks is padding, which leaves the memories untouched.
        width = self.config.row_block(length)
        chunks = -(-length // width)
        reach = max((probe.reach for probe in probes.values() if probe.of == "recall"), default=-1)
        told = self._told(state[1], reach if chunks > 1 else 0) if reach >= 0 else None
        begin: Carry = state, told
        if chunks == 1:
            row = x, begin, layout.real, layout.start, own, probes
            x, ((state, _), statistics, sums) = forward(self, *row)
            return x, (state, statistics, sums)

        def split(y: Array) -> Array:
            y = jnp.pad(y, [(0, 0), (0, chunks * width - length)] + [(0, 0)] * (y.ndim - 2))
            return y.reshape(y.shape[0], chunks, width, *y.shape[2:]).swapaxes(0, 1)

        def step(block: Block, carry: Carry, chunk: Any) -> tuple[Carry, Any]:
            x, real, start, probes = chunk
            x, (carry, statistics, sums) = forward(block, x, carry, real, start, own, probes)
            return carry, (x, statistics, sums)

        over_time = nn.scan(
            step,
            variable_broadcast=DenyList((RECURRENCE,)),
            variable_axes={RECURRENCE: 0},
            split_rngs={"params": False, "dropout": True},
            # Parameters are made in an extra trace: none is needed where they are there.
            check_constancy_invariants=self.is_initializing(),
        )
        (state, _), (x, statistics, sums) = over_time(
            self, begin, jax.tree.map(split, (x, layout.real, layout.start, probes))
        )
        x = x.swapaxes(0, 1).reshape(x.shape[1], chunks * width, -1)[:, :length]
        sums = jax.tree.map(lambda each: jnp.sum(each, axis=0), sums)
        return x, (state, jax.tree.map(jnp.max, statistics), sums)

    def _told(self, m: Array, reach: int) -> Told:
        """Of the tokens before a row, which nothing in it asks for."""
        config, shape = self.config, (len(m), reach, self.config.H)
        zeros = (jnp.zeros((*shape, size), config.dtype) for size in (config.S, config.K))
        return Told(m, *zeros)

    def _forward(
        self,
        x: Array,
        carry: Carry,
        real: Array,
        start: Array,
        own: dict[str, Params],
        probes: Probes,
    ) -> tuple[Array, tuple[Carry, dict[str, Array], Sums]]:
        config, (state, told) = self.config, carry
        drop = Dropout(config.dropout, self.deterministic)
        u = rms_norm(config, "norm")(x)
        p = InputProjection(config, name="project")(u)
        h, h_last, statistics = self._short_term(u, p, state[0], real, start)
        mixed, m_last, written = h.astype(config.dtype), state[1], dict[str, Any]()
        if config.memory != "none":
            r, m_last, written = self._long_term(h, p, state, real, start)
            mixed = jnp.concatenate([mixed, r], axis=-1)
        branch = dense(config, config.D, "out", residual=True)(mixed * nn.silu(p["g"]))
        x = split_rows(x + drop(branch))
        x = x + drop(SwiGLU(config, name="ffn")(rms_norm(config, "ffn_norm")(x)))
        written |= {"chunk": config.chunk, "error_correction": config.memory == "delta"}
        sums, after = {}, told
        for name, probe in probes.items():
            if probe.of == "states":
                inside = {"h": h, "previous": jnp.concatenate([state[0][:, None], h[:, :-1]], 1)}
            else:
                assert told is not None
                inside, after = recall(told, probe.rows["back"], **written)
            sums[name] = probe.sums(own[name], inside, probe.rows)
        return split_rows(x), (((h_last, m_last), after), statistics, sums)

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
        return h, h_last, statistics

    def _long_term(
        self, h: Array, p: dict[str, Array], state: LayerState, real: Array, start: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """Writes and reads the memories.

        Returns:
          Reads `[B, T, H K]`, the last matrices, and what was written.
        """
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
        memory = (q, k, v, alpha, beta, state[1])
        delta = config.memory == "delta"
        if length == 1 and sequence.parts() == 1:
            r, m_last = delta_steps(*memory, reset=start, error_correction=delta)
        else:
            r, m_last = delta_scan_of_row(
                *memory, reset=start, chunk=config.chunk, error_correction=delta
            )
        r = rms_norm(config, "head_norm", config.head_norm_epsilon)(r)
        written = {"k": k, "v": v, "alpha": alpha, "beta": beta, "reset": start}
        return r.reshape(batch, length, -1), m_last, written

    def _addresses(
        self, h: Array, p: dict[str, Array], h0: Array, start: Array
    ) -> tuple[Array, Array]:
        """Queries and keys `[B, T, H S]`, each of the H of length 1 or zero.

        With addresses="states" the key of a token is the query of the one before it: `h0` is that
        of the first, and the first token of a document, which has none before it, is not written.
        """
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

    def _record(self, values: dict[str, Array]) -> None:
        """Leaves values in the collection; no operation where nobody asks for it."""
        if self.is_mutable_collection(RECURRENCE) and not self.is_initializing():
            for name, value in values.items():
                self.put_variable(RECURRENCE, name, value)
