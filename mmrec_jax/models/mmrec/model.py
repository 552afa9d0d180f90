"""MMRecLM: tokens and a state in; hidden states, the next state and metrics out."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmrec_jax.models.api import Probe
from mmrec_jax.models.layout import layout
from mmrec_jax.models.linen import PROBED
from mmrec_jax.models.mmrec.block import Block
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.layers import Dropout, rms_norm
from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from mmrec_jax.models.partition import split_rows
from mmrec_jax.models.vocabulary import Vocabulary
from mmrec_jax.typing import Array, Float, Integer, typed


class MMRecLM(nn.Module):
    """A language model whose context lives in a state of fixed size.

    Layers are compiled once and scanned over, so compile time does not grow with depth; the
    parameters of layer i are index i of axis 0 of every leaf under `blocks`.
    """

    config: MMRecConfig

    @nn.compact
    @typed
    def __call__(
        self,
        tokens: Integer[Array | np.ndarray, "B T"],
        state: MMRecState | None = None,
        segment_ids: Integer[Array | np.ndarray, "B T"] | None = None,
        *,
        deterministic: bool = True,
        perturb: Callable[[Array], Array] | None = None,
        probes: dict[str, Probe] | None = None,
    ) -> tuple[Float[Array, "B T D"], MMRecState, dict[str, Array]]:
        """Processes T tokens: see `LanguageModel.apply`.

        `deterministic=False` switches dropout on (an rng named "dropout" is needed).

        Returns:
          Hidden states after the last norm, the state after the last real token, and scalar
          metrics: with gate="state" `newton_iterations`, `newton_residual` and `newton_fell_back`
          of `gated_scan`, the largest over layers and chunks of time.
        """
        config = self.config
        tokens = jnp.asarray(tokens)
        if segment_ids is not None:
            segment_ids = jnp.asarray(segment_ids, jnp.int32)
        embed = Vocabulary(
            config,
            config.D,
            scale=embedding_scale(config),
            dtype=config.dtype,
            param_dtype=config.param_dtype,
            casts_table=True,
            name="embed",
        )
        if state is None:
            state = zero_state(config, tokens.shape[0])
        where = layout(segment_ids, state, tokens.shape, config.row_block(tokens.shape[1]))
        x = embed(tokens)
        if perturb is not None:
            x = perturb(x)
        x = split_rows(Dropout(config.dropout, deterministic)(x))

        blocks = nn.scan(
            Block,
            variable_axes={True: 0},  # of every collection: what is laid over params comes along
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, nn.broadcast, 0, nn.broadcast),
            length=config.num_layers,
            check_constancy_invariants=False,  # which there are none of: traces a layer once
        )
        probes = probes or {}
        own = {name: probe.params for name, probe in probes.items()}
        rows = {name: dataclasses.replace(probe, params=None) for name, probe in probes.items()}
        x, ((h, m), statistics, sums) = blocks(config, deterministic, name="blocks")(
            x, (state.h, state.m), where, own, rows
        )
        for name, found in sums.items():
            self.put_variable(PROBED, name, found)
        x = rms_norm(config, "final_norm")(x)
        state = MMRecState(h=h, m=m, segment=where.segment, position=where.position)
        return x, state, jax.tree.map(jnp.max, statistics)


def embedding_scale(config: MMRecConfig) -> float:
    """Standard deviation of the tied embedding at the start: 0.02, less for a wide model.

    After the final norm a logit is a sum of D products, so its variance is D times the square of
    this, and the first loss lies half of that above ln V. Bounded to 0.2, it stays within 1 %
    of ln V; a constant 0.02 would be 2 % off at base and 5 % at medium.
    """
    return min(0.02, (0.2 / config.D) ** 0.5)
