"""What tests of a training step share: batches, parameters, meshes, and the gradient of a step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmrec_jax.models.api import Output
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import CrossEntropyConfig
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.train.mesh import arrange, replicated, shard_batch, shardings, state_shardings
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step

TOKENIZER = CharTokenizer.from_texts(["aeıiuüoöklmnrs "])
VOCABULARY = 20  # three ids more than the tokenizer has

# Remembers the gradient that it is given and moves nothing: no rounding between it and a test.
RECORDER = optax.GradientTransformation(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda gradient, _, params: (jax.tree.map(jnp.zeros_like, params), gradient),
)

# Real tokens of the rows: very uneven, so that a mean of means would be far off.
LENGTHS = (12, 1, 2, 12, 3, 12, 1, 7)


@functools.cache
def linear_model(**changes):
    """MM-Rec without gates and memories, which compiles fastest."""
    sizes = {"vocab_size": VOCABULARY, "model_dim": 16, "num_layers": 2, "num_memories": 2}
    fields = {**sizes, "gate": "none", "memory": "none", "chunk": 8, "remat": "none", **changes}
    return MMRecConfig(**fields).build()


def batch(lengths=LENGTHS, width=12, seed=0):
    """Rows of two packed documents each, then padding; some tokens do not count in the loss."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), width)
    real = np.arange(width) < np.asarray(lengths)[:, None]
    second = np.arange(width) >= np.asarray(lengths)[:, None] // 2
    tokens = rng.integers(2, TOKENIZER.vocab_size, (2, *shape)) * real
    weights = rng.choice([0.0, 0.25, 1.0, 3.0], shape) * real
    return {
        "inputs": tokens[0].astype(np.int32),
        "targets": tokens[1].astype(np.int32),
        "segment_ids": np.where(real, 1 + second, 0).astype(np.int32),
        "weights": weights.astype(np.float32),
    }


def logits_output(logits, state=None, **captured):
    """The output of a model whose hidden states are its logits."""
    return Output(logits, jax.tree_util.Partial(jnp.asarray), state, {}, captured)


def moved(params, size=0.1, seed=9):
    """Every parameter away from its special initial value."""
    rng = np.random.default_rng(seed)

    def move(leaf):
        return leaf + np.asarray(size * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(move, params)


def shard_params(params, model, mesh):
    """Parameters as a mesh holds them."""
    return jax.device_put(params, shardings(params, model.partition_specs(params), mesh))


def build(model, **configs):
    """Objectives by name: the cross-entropy, and those given."""
    configs = {"cross_entropy": CrossEntropyConfig(), **configs}
    return {name: config.build(model, TOKENIZER) for name, config in configs.items()}


def start(model, objectives, optimizer=RECORDER, rows=None):
    """A state whose parameters have been moved; traceable."""
    state = initial_state(model, objectives, optimizer, 0, rows)
    own = moved(state.objectives, seed=10)
    return dataclasses.replace(state, params=moved(state.params), objectives=own)


def mesh(data=1, fsdp=1, tensor=1, sequence=1):
    """The first devices, on the axes of a run."""
    return arrange(jax.devices(), data, fsdp, tensor, sequence)


def on_mesh(devices, model, objectives, optimizer=RECORDER, accumulate=1):
    """The state on a mesh, and `(model, state, batch)` of NumPy arrays compiled for it."""
    begin = functools.partial(start, model, objectives, optimizer)
    shardings = state_shardings(jax.eval_shape(begin), model, devices)
    state = jax.jit(begin, out_shardings=shardings)()
    step = make_train_step(optimizer, objectives, accumulate)
    program = jax.jit(step, out_shardings=(shardings, replicated(devices)))

    def call(model, state, rows):
        return program(model, state, shard_batch(rows, devices))

    return state, call


def assert_close(actual, expected, rtol):
    """Each leaf to a fraction of its largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, e), a in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(actual), strict=True
    ):
        atol = rtol * float(np.max(np.abs(e), initial=0))
        np.testing.assert_allclose(a, e, rtol=0, atol=atol, err_msg=str(path))
