"""Greedy decoding of one sample, a fixed number of tokens a step, after a context that was read.

Each function here makes a model with random parameters, reads the context, and returns `facts`
(`state_bytes` after the context, `read_seconds` that reading took, compilation included) and a
step. torch and JAX are imported only by the functions that use them.
"""

import time
from typing import Any

import numpy as np

from benchmarks.timing import Step

_CHUNK = 512  # tokens that the JAX attention peer reads at once


def mmrec(fields: dict[str, Any], context: np.ndarray, draws: int) -> tuple[dict, Step]:
    """MM-Rec through `mmrec_jax.inference.generate`.

    Args:
      fields: of `MMRecConfig`.
      context: `[n]` ids.
      draws: tokens to decode in a step.
    """
    import jax

    from mmrec_jax.inference.generate import stream
    from mmrec_jax.inference.prefill import prefill
    from mmrec_jax.inference.sampling import Sampling
    from mmrec_jax.models.mmrec.config import MMRecConfig
    from mmrec_jax.tree import num_bytes

    model = MMRecConfig(**fields).build()
    params = jax.jit(model.init)(jax.random.key(0))
    greedy = Sampling(temperature=0.0, top_p=1.0)
    start = time.perf_counter()
    state = prefill(model, params, context)
    tokens = stream(model, params, state, max_tokens=2**31 - 1, sampling=greedy)
    next(tokens)
    facts = _facts(f"jax {jax.__version__}", num_bytes(model.initial_state(1)), start)

    def step() -> None:
        for _ in range(draws):
            next(tokens)

    return facts, step


def jax_attention(
    fields: dict[str, Any], context: np.ndarray, draws: int, steps: int
) -> tuple[dict, Step]:
    """The attention peer in Flax, with a cache that has room for `steps` steps."""
    import functools

    import jax
    import jax.numpy as jnp

    from benchmarks.peers.jax_attention_cache import bytes_per_token, empty_cache, read
    from mmrec_jax.models.attention.config import AttentionConfig

    config = AttentionConfig(**fields)
    params = config.build().init(jax.random.key(0))

    @functools.partial(jax.jit, donate_argnums=1)
    def decode(logits: Any, cache: Any) -> tuple[Any, Any, Any]:
        token = jnp.argmax(logits, axis=-1)[:, None]
        return token, *read(config, params, token, cache)

    start = time.perf_counter()
    prefill = jax.jit(functools.partial(read, config, params), donate_argnums=1)
    cache = empty_cache(config, 1, len(context) + draws * steps + 1)
    logits = None
    for begin in range(0, len(context), _CHUNK):
        logits, cache = prefill(jnp.asarray(context[None, begin : begin + _CHUNK]), cache)
    held = [decode(logits, cache)]
    jax.block_until_ready(held)
    facts = _facts(f"jax {jax.__version__}", len(context) * bytes_per_token(config), start)

    def step() -> None:
        for _ in range(draws):
            token, logits, cache = held.pop()
            held.append(decode(logits, cache))
            np.asarray(token)  # as a program does that shows each token

    return facts, step


def published(
    name: str, fields: dict[str, Any], context: np.ndarray, draws: int
) -> tuple[dict, Step]:
    """A peer from `transformers`."""
    import torch

    from benchmarks.peers.catalogue import random_model

    facts, peer, model = random_model(name, fields)
    model.eval()
    cache = peer.new_cache(model)
    start = time.perf_counter()
    with torch.inference_mode():
        logits = peer.read(model, torch.from_numpy(context).long()[None], cache, 0)
    facts |= _facts(facts["version"], peer.state_bytes(model, cache), start)
    position = len(context)

    @torch.inference_mode()
    def step() -> None:
        nonlocal logits, position
        for _ in range(draws):
            token = logits[:, -1].argmax(-1, keepdim=True)
            logits = peer.read(model, token, cache, position)
            position += 1
            token.item()

    return facts, step


def _facts(version: str, state_bytes: int, start: float) -> dict[str, Any]:
    seconds = time.perf_counter() - start
    return {"version": version, "state_bytes": state_bytes, "read_seconds": seconds}
