"""A model small enough to compile in seconds, and one compiled function that most tests share.

Compilation is what these tests cost: they use the same [2, 11] tokens wherever they can.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.models.mmrec.block import RECURRENCE
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.family import MMRec
from mmrec_jax.models.mmrec.state import MMRecState, zero_state

BATCH, LENGTH = 2, 11

# No two dimensions are the same, so that a swapped axis cannot go unnoticed.
_BASE = {
    "vocab_size": 13,
    "model_dim": 8,
    "num_layers": 2,
    "num_memories": 2,
    "recurrent_dim": 6,
    "memory_slots": 3,
    "mem_dim": 5,
    "ffn_dim": 16,
    "dpg_rank": 4,
    "context": 64,
    "chunk": 4,
    "remat": "none",  # compiles fastest
    "head_norm_epsilon": 1e-6,  # the steepest that a stored model has
}

# Every gate with two of the memories and every memory with two of the gates; every switch at least
# once beside another variant.
VARIANTS: dict[str, dict[str, Any]] = {
    "state-delta": {},
    "state-none": {"memory": "none"},
    "input-delta": {"gate": "input", "use_hem": False, "addresses": "tokens"},
    "input-decay": {"gate": "input", "memory": "decay", "use_dpg": False},
    "none-decay": {"gate": "none", "memory": "decay", "addresses": "tokens"},
    "none-none": {"gate": "none", "memory": "none", "use_hem": False},
}


def config(**changes: Any) -> MMRecConfig:
    """The small model with some fields replaced."""
    return MMRecConfig(**(_BASE | changes))


def random_parameters(config: MMRecConfig, seed: int = 5) -> dict[str, Any]:
    """Random numbers everywhere: no gate, bias or scale is at its start, or zero, or equal."""
    shapes = jax.eval_shape(MMRec(config).init, jax.random.key(0))
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        noise, name = rng.normal(size=leaf.shape), path[-1].key
        if name == "kernel":
            value = noise / np.sqrt(leaf.shape[-2])
        elif name == "scale":
            value = 1 + 0.3 * noise
        elif name in ("b_gamma", "b_alpha"):
            value = 2 + noise
        else:
            value = noise
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_tokens(seed: int = 5, shape: tuple[int, ...] = (BATCH, LENGTH)) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, _BASE["vocab_size"], shape), jnp.int32)


def random_state(config: MMRecConfig, segment: int, seed: int = 5) -> MMRecState:
    """A state in the middle of document `segment`, 5 tokens read."""
    rng = np.random.default_rng(seed)
    zero = zero_state(config, BATCH)
    return MMRecState(
        h=jnp.float32(rng.normal(size=zero.h.shape)),
        m=jnp.float32(rng.normal(size=zero.m.shape)),
        segment=jnp.full(BATCH, segment, jnp.int32),
        position=jnp.full(BATCH, 5, jnp.int32),
    )


class Result(NamedTuple):
    """What the model returns, and the gradients of `sum(g logits) + sum(g_states states)`."""

    logits: jax.Array
    state: MMRecState
    states: jax.Array  # short-term states over time, [L, B, T, E]
    metrics: dict[str, jax.Array]
    d_params: dict[str, Any]
    d_embedded: jax.Array  # with respect to what the embedding passes on, [B, T, D]
    d_memories: tuple[jax.Array, jax.Array]  # with respect to the state's h and m


def run(
    config: MMRecConfig,
    params: dict[str, Any],
    tokens: jax.Array,
    segment_ids: object = None,
    state: MMRecState | None = None,
    g: object = 0.0,
    g_states: object = 0.0,
) -> Result:
    """Runs the compiled model and its gradient; without `segment_ids` all is document 1."""
    if segment_ids is None:
        segment_ids = np.ones(tokens.shape, np.int32)
    if state is None:
        state = zero_state(config, tokens.shape[0])
    g = np.broadcast_to(np.float32(g), (*tokens.shape, config.vocab_size))
    g_states = np.broadcast_to(np.float32(g_states), (config.num_layers, *tokens.shape, config.E))
    segment_ids = jnp.asarray(segment_ids, jnp.int32)
    return Result(*_compiled(config)(params, tokens, segment_ids, state, g, g_states))


@functools.cache
def _compiled(config: MMRecConfig):
    @jax.jit
    def call(params, tokens, segment_ids, state, g, g_states):
        def loss(params, added, memories):
            # The embedding matrix is tied to the output, so its gradient mixes both uses; a term
            # added to the looked-up vectors has the gradient of the input alone.
            output = MMRec(config).apply(
                params,
                tokens,
                state.replace(h=memories[0], m=memories[1]),
                segment_ids,
                perturb=lambda x: x + added.astype(x.dtype),
                capture=(RECURRENCE,),
            )
            states = output.captured[RECURRENCE]["blocks"]["h"]
            if states.ndim == 5:  # in chunks of time
                states = states.swapaxes(1, 2).reshape(*g_states.shape[:2], -1, config.E)
                states = states[:, :, : tokens.shape[1]]
            total = jnp.sum(g * output.logits) + jnp.sum(g_states * states)
            return total, (output.logits, output.state, states, output.metrics)

        added = jnp.zeros((*tokens.shape, config.D))
        gradients, outputs = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
            params, added, (state.h, state.m)
        )
        return *outputs, *gradients

    return call


@functools.cache
def forward(config: MMRecConfig):
    """Compiled `params, tokens, state, segment_ids -> logits, state, metrics`."""

    @jax.jit
    def call(params, tokens, state=None, segment_ids=None):
        output = MMRec(config).apply(params, tokens, state, segment_ids)
        return output.logits, output.state, output.metrics

    return call


def named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf under its path, for comparing whole trees."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
