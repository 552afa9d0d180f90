"""MMRecLM: tokens and a state in; logits, the next state and named intermediates out."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmrec_jax.models.mmrec.block import Block
from mmrec_jax.models.mmrec.config import ModelConfig
from mmrec_jax.models.mmrec.layers import Dropout, rms_norm
from mmrec_jax.models.mmrec.state import MMRecState, layout, zero_state
from mmrec_jax.typing import Array, Float, Integer, typed

Intermediates = dict[str, Array]


class MMRecLM(nn.Module):
    """A language model whose context lives in a state of fixed size.

    Layers are compiled once and scanned over, so compile time does not grow with depth; the
    parameters of layer i are index i of axis 0 of every leaf under `blocks`.
    """

    config: ModelConfig

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
    ) -> tuple[Float[Array, "B T V"], MMRecState, Intermediates]:
        """Reads T tokens.

        Args:
          tokens: ids in [0, vocab_size).
          state: what has been read before; the zero state when None.
          segment_ids: 0 at padding, a document's id (> 0) elsewhere; a token whose id differs from
            that of the last real token (the state's included) begins a document and sees nothing
            before it. None: all tokens continue the state's document.
          deterministic: False switches dropout on (an rng named "dropout" is needed).
          perturb: what training does to the embedded tokens [B, T, D] (`models/neftune.py`).

        Returns:
          Logits in float32 (those at t predict token t + 1), the state after the last real token,
          and intermediates, all scalars:
            * with gate="state": `newton_iterations`, `newton_residual`, `newton_fell_back` of
              `gated_scan`, the largest over layers and pieces of time;
            * with use_uboo, averaged over layers: `uboo` (the auxiliary loss), `uboo_tokens`
              (tokens in its mean), `uboo_skill` (1 - loss / loss of predicting no change) and
              `uboo_variance` (of the normalised state over tokens).
        """
        config = self.config
        tokens = jnp.asarray(tokens)
        if segment_ids is not None:
            segment_ids = jnp.asarray(segment_ids, jnp.int32)
        embed = nn.Embed(
            config.vocab_size,
            config.D,
            dtype=config.dtype,
            param_dtype=config.param_dtype,
            embedding_init=nn.initializers.normal(embedding_scale(config)),
            name="embed",
        )
        if state is None:
            state = zero_state(config, tokens.shape[0])
        where = layout(segment_ids, state, tokens.shape[1])
        x = embed(tokens)
        if perturb is not None:
            x = perturb(x)
        x = Dropout(config.dropout, deterministic)(x)

        blocks = nn.scan(
            Block,
            variable_axes={True: 0},  # of every collection: what is laid over params comes along
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, nn.broadcast),
            length=config.num_layers,
        )
        x, ((h, m), statistics) = blocks(config, deterministic, name="blocks")(
            x, (state.h, state.m), where
        )
        x = rms_norm(config, "final_norm")(x)
        logits = jnp.dot(x, embed.embedding.T.astype(x.dtype), preferred_element_type=jnp.float32)
        state = MMRecState(h=h, m=m, segment=where.segment, position=where.position)
        means = {
            name: jnp.max(value) if name.startswith("newton") else jnp.mean(value)
            for name, value in statistics.items()
        }
        if config.use_uboo:
            means |= _uboo_summary(means, jnp.sum(where.real & ~where.start))
        return logits, state, means


def embedding_scale(config: ModelConfig) -> float:
    """Standard deviation of the tied embedding at the start: 0.02, less for a wide model.

    After the final norm a logit is a sum of D products, so its variance is D times the square of
    this, and the first loss lies half of that above ln V. Bounded to 0.2, it stays within 1 %
    of ln V; a constant 0.02 would be 2 % off at base and 5 % at medium.
    """
    return min(0.02, (0.2 / config.D) ** 0.5)


def forward(
    model: MMRecLM,
    params: Any,
    tokens: Array | np.ndarray,
    state: MMRecState | None = None,
    segment_ids: Array | np.ndarray | None = None,
    *,
    dropout_key: Array | None = None,
    perturb: Callable[[Array], Array] | None = None,
    others: Mapping[str, Any] | None = None,
) -> tuple[Array, MMRecState, Intermediates]:
    """`model.apply` on parameters; dropout is on if and only if a key is given.

    `others` are collections of variables beside them, such as those of `dora.intercept`.
    """
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    noise: dict[str, Any] = {} if perturb is None else {"perturb": perturb}
    outputs: Any = model.apply(
        {"params": params, **(others or {})},
        tokens,
        state,
        segment_ids,
        deterministic=dropout_key is None,
        rngs=rngs,
        **noise,
    )
    logits, state, intermediates = outputs
    return logits, state, intermediates


def _uboo_summary(means: Intermediates, tokens: Array) -> Intermediates:
    loss, identity = means.pop("uboo_loss"), means.pop("uboo_identity")
    skill = 1 - loss / jnp.maximum(identity, jnp.finfo(jnp.float32).tiny)
    return {
        "uboo": loss,
        "uboo_tokens": tokens.astype(jnp.float32),
        "uboo_skill": jax.lax.stop_gradient(skill),
    }


def count_parameters(params: dict) -> int:
    """Scalars in `params`; the training-only UBOO predictors are not counted."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(
        leaf.size
        for path, leaf in leaves
        if not any(getattr(p, "key", None) == "uboo" for p in path)
    )
