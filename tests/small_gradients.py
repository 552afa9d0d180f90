"""Gradients of small models, computed in a process of its own with XLA's own optimisation.

python -m tests.small_gradients FILE [late] [CONFIG | jacrev ...]

Writes a .npz file. With `late`, JAX starts before mmrec_jax is imported.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np

if "late" in sys.argv:
    jax.devices()

from mmrec_jax.config_file import read_config
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.optim.hessian import gnb
from tests.small_run import ROOT

_TOKENS = 48


def batched_cotangents() -> dict[str, jax.Array]:
    """The smallest program that jaxlib 0.10.2 gets wrong, and pullbacks, beside what is right."""
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(2049, 8)), rng.normal(size=(2, 2049, 8))
    reduce = jax.jit(lambda x, c: c * (x * c).sum(-1, keepdims=True))
    result = {"reduction": reduce(jnp.float32(x), jnp.float32(c))}
    result["reduction expected"] = c * (x * c).sum(-1, keepdims=True)

    pullback = jax.vjp(lambda x: x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True)), x)[1]
    result["normalisation"] = jax.jit(jax.vmap(pullback))(jnp.float32(c))[0]
    result["normalisation expected"] = jnp.stack([jax.jit(pullback)(row)[0] for row in c])
    return result


def model_cotangents() -> dict[str, jax.Array]:
    """`jacrev` of two losses of one layer of the tiny model, 2,304 tokens, beside one at a time."""
    config = dataclasses.replace(SIZES["tiny"], num_layers=1, vocab_size=300, remat="none")
    model = config.build()
    tokens = jax.random.randint(jax.random.key(1), (18, 128), 0, 300)
    params = jax.jit(model.init)(jax.random.key(0))

    def losses(params: object) -> jax.Array:
        logits = model.apply(params, tokens).logits
        return -jax.nn.log_softmax(logits)[..., 7].reshape(2, -1).sum(-1)

    def single(params: object, row: int) -> jax.Array:
        return _flat(jax.grad(lambda params: losses(params)[row])(params))

    return {
        "jacrev": _flat(jax.jit(jax.jacrev(losses))(params), rows=2),
        "jacrev expected": jnp.stack([jax.jit(single)(params, row) for row in (0, 1)]),
    }


def config_gradients(name: str) -> dict[str, jax.Array]:
    """Gradient of the loss of a shipped config's model on random tokens; or Sophia's estimate."""
    config = read_config(str(ROOT / "configs" / f"{name}.py"))
    sizes = {"vocab_size": 64, "context": _TOKENS, "remat": "none", "num_layers": 1}
    sizes["model_dim"] = min(config.model.model_dim, 32)
    fields = {field: getattr(config.model, field) for field in config.model.__dataclass_fields__}
    model = MMRecConfig(**(fields | sizes)).build()
    tokens = jax.random.randint(jax.random.key(1), (2, _TOKENS + 1), 0, 64)
    batch = {"tokens": tokens, "weights": jnp.ones((2, _TOKENS))}
    params = jax.jit(model.init)(jax.random.key(0))

    def logits(params: object, batch: dict[str, jax.Array]) -> jax.Array:
        return model.apply(params, batch["tokens"][:, :-1]).logits

    def loss(params: object) -> jax.Array:
        log_p = jax.nn.log_softmax(logits(params, batch))
        return -jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1).mean()

    if config.optim.uses_hessian:
        return {
            name: _flat(jax.jit(lambda key: gnb(key, logits, params, batch))(jax.random.key(2)))
        }
    return {name: _flat(jax.jit(jax.grad(loss))(params))}


def _flat(tree: object, rows: int = 0) -> jax.Array:
    shape = (rows, -1) if rows else (-1,)
    return jnp.concatenate([leaf.reshape(shape) for leaf in jax.tree.leaves(tree)], axis=-1)


def main() -> None:
    """Computes everything."""
    arrays = batched_cotangents()
    for name in (argument for argument in sys.argv[2:] if argument != "late"):
        arrays |= model_cotangents() if name == "jacrev" else config_gradients(name)
    np.savez(sys.argv[1], **{name: np.asarray(array) for name, array in arrays.items()})


if __name__ == "__main__":
    main()
