"""Packed documents are the same documents apart, and padding anywhere changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.state import MMRecState
from tests.models.mmrec.loops import assert_close, relative_error
from tests.models.mmrec.small_model import (
    BATCH,
    LENGTH,
    VARIANTS,
    config,
    forward,
    named_leaves,
    random_parameters,
    random_state,
    random_tokens,
    run,
)

SOME = ["state-delta", "input-decay"]

# Where the tokens stand when padding is at the end, at the start, and in between.
PLACES = [[0, 1, 2, 3, 4, 5, 6], [4, 5, 6, 7, 8, 9, 10], [0, 2, 3, 5, 8, 9, 10]]


@pytest.fixture(params=SOME, scope="module")
def variant(request):
    small = config(**VARIANTS[request.param])
    return small, random_parameters(small)


def place(values: np.ndarray, at: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """A row of `shape` with `values` at the positions `at`, the rest 0."""
    row = np.zeros(shape, values.dtype)
    row[at] = values
    return row


def memories(state: MMRecState, row: int) -> dict[str, np.ndarray]:
    return {"h": np.asarray(state.h[:, row]), "m": np.asarray(state.m[:, row])}


def test_packed_documents_equal_documents_apart(variant):
    """Three documents in one row, against each alone; the gradients add up."""
    small, params = variant
    lengths, ids = (4, 5, 2), (7, 2, 7)  # an id may come back: only a change begins a document
    packed = random_tokens(shape=(1, LENGTH))[0]
    g = np.random.default_rng(0).normal(size=(LENGTH, small.vocab_size)).astype(np.float32)
    segments = np.repeat(ids, lengths)
    both = [np.stack([x, np.zeros_like(x)]) for x in (np.asarray(packed), segments, g)]
    together = run(small, params, jnp.asarray(both[0]), both[1], None, both[2])
    gradients, begin = [], 0
    for length, document in zip(lengths, ids, strict=True):
        at = list(range(begin, begin + length))
        here = list(range(length))
        rows = [
            place(np.asarray(packed)[at], here, (LENGTH,)),
            place(np.full(length, document), here, (LENGTH,)),
            place(g[at], here, g.shape),
        ]
        tokens, segment_ids, cotangent = (np.stack([x, np.zeros_like(x)]) for x in rows)
        alone = run(small, params, jnp.asarray(tokens), segment_ids, None, cotangent)
        assert relative_error(together.logits[0, at], alone.logits[0, here]) <= 1e-5
        gradients.append(named_leaves(alone.d_params))
        begin += length
    assert_close(memories(together.state, 0), memories(alone.state, 0), 1e-5)
    assert int(together.state.segment[0]) == int(alone.state.segment[0]) == 7
    assert int(together.state.position[0]) == int(alone.state.position[0]) == 2
    total = {name: sum(tree[name] for tree in gradients) for name in gradients[0]}
    assert_close(named_leaves(together.d_params), total, 1e-5)


def test_padding_anywhere_changes_nothing(variant):
    """Seven tokens of two documents with a carried state, and four of padding anywhere."""
    small, params = variant
    state = random_state(small, segment=6)
    tokens = np.asarray(random_tokens(shape=(BATCH, 7)))
    ids = np.int32([[6, 6, 6, 1, 1, 1, 1], [2] * 7])
    g = np.random.default_rng(0).normal(size=(BATCH, 7, small.vocab_size)).astype(np.float32)

    def padded(at):
        rows = [
            np.stack([place(x[i], at, (LENGTH, *x.shape[2:])) for i in range(BATCH)])
            for x in (tokens, ids, g)
        ]
        return run(small, params, jnp.asarray(rows[0]), rows[1], state, rows[2])

    plain, after, _ = forward(small)(params, jnp.asarray(tokens), state, jnp.asarray(ids))
    first = padded(PLACES[0])
    for at in PLACES:
        result = padded(at)
        assert relative_error(result.logits[:, jnp.asarray(at)], plain) <= 1e-5
        assert_close(named_leaves(result.state), named_leaves(after), 1e-5)
        assert_close(named_leaves(result.d_params), named_leaves(first.d_params), 1e-5)
        assert_close(named_leaves(result.d_memories), named_leaves(first.d_memories), 1e-5)
    np.testing.assert_array_equal(after.segment, [1, 2])
    np.testing.assert_array_equal(after.position, [4, 7])


def test_only_padding_leaves_the_state_untouched(variant):
    """To the last bit, so that idle rows of a batch can be carried for ever."""
    small, params = variant
    state = random_state(small, segment=6)
    after = run(small, params, random_tokens(), np.zeros((BATCH, LENGTH)), state).state
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_tokens_of_padding_do_not_matter(variant):
    small, params = variant
    segments = np.int32([[0, 2, 2, 0, 0, 2, 1, 1, 0, 1, 0], [3] * 10 + [0]])
    real = segments > 0
    first, second = random_tokens(1), random_tokens(2)
    second = jnp.where(real, first, second)
    one, two = (run(small, params, tokens, segments) for tokens in (first, second))
    np.testing.assert_array_equal(one.logits[real], two.logits[real])
    jax.tree.map(np.testing.assert_array_equal, one.state, two.state)
