"""UBOO by hand in float64: values, and where its gradient goes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.objectives.api import LOSS
from mmrec_jax.objectives.uboo import UBOO, UBOOConfig, normalise
from tests.models.mmrec.loops import relative_error
from tests.small_step import logits_output

LAYERS, BATCH, LENGTH, WIDTH = 2, 2, 6, 6
# Row 0 continues a document (its first token has a predecessor in `before`) and begins one at 3;
# row 1 begins at 0 and has padding at 2 and 5.
CONTINUES = np.array([[1, 1, 1, 0, 1, 1], [0, 1, 0, 1, 1, 0]], bool)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def by_hand(previous: np.ndarray, after: np.ndarray, kernel: np.ndarray) -> float:
    """Mean squared error over layers, channels and tokens; both are states [L, B, T, E]."""
    error = np.einsum("lbte,lef->lbtf", unit(previous), kernel) - unit(after)
    return float(np.mean(error[:, CONTINUES] ** 2))


@pytest.fixture
def case(rng):
    """h, the states before them, W_p; and, in float64, each state's predecessor."""
    h = np.float32(rng.normal(size=(LAYERS, BATCH, LENGTH, WIDTH)))
    before = np.float32(rng.normal(size=(LAYERS, BATCH, WIDTH)))
    kernel = np.float32(rng.normal(size=(LAYERS, WIDTH, WIDTH)))
    previous = np.concatenate([before[:, :, None], h[:, :, :-1]], axis=2)
    return (h, before, kernel), np.float64(previous)


@functools.partial(jax.jit, static_argnames="isolate")
def sums(h, before, kernel, continues=CONTINUES, isolate=False):
    objective = UBOO(UBOOConfig(isolate=isolate))
    probe = objective.probe({"kernel": kernel}, {}, jnp.asarray(continues))
    inside = {"h": h, "previous": jnp.concatenate([before[:, :, None], h[:, :, :-1]], axis=2)}
    found = jax.vmap(probe.sums, in_axes=(0, 0, None))(probe.params, inside, probe.rows)
    output = logits_output(jnp.zeros((BATCH, h.shape[2], 3)), **found)
    return objective.sums({}, output, {}, continues, None)


def metrics(*inputs, count=8, **options):
    found = sums(*inputs, **options)
    return UBOO(UBOOConfig()).metrics(found, count) | {"sum": found[LOSS]}


def test_values_by_hand(case):
    inputs, previous = case
    h, _, kernel = np.float64(inputs[0]), *inputs[1:]
    found, loss = metrics(*inputs), by_hand(previous, h, np.float64(kernel))
    trivial = by_hand(previous, h, np.broadcast_to(np.eye(WIDTH), kernel.shape))
    assert relative_error(found["uboo"], loss) <= 1e-6
    assert relative_error(found["uboo_skill"], 1 - loss / trivial) <= 1e-6
    spread = np.mean(np.var(unit(h)[:, CONTINUES], axis=1))
    assert relative_error(found["uboo_variance"], spread) <= 1e-6


def test_chunks_of_a_text_add_up_to_the_whole(case):
    """The second chunk continues from the first one's last state."""
    (h, before, kernel), _ = case
    first = sums(h[:, :, :4], before, kernel, CONTINUES[:, :4])
    second = sums(h[:, :, 4:], h[:, :, 3], kernel, CONTINUES[:, 4:])
    expected = sums(h, before, kernel)
    for name, value in expected.items():
        assert relative_error(first[name] + second[name], value) <= 1e-5


def test_tokens_without_a_predecessor_do_not_count(case):
    """First tokens of a document and padding: their state may be anything."""
    (h, before, kernel), _ = case
    expected = sums(h, before, kernel)
    other, moved, real = before.copy(), h.copy(), before.copy()
    other[:, 1] += 1
    moved[:, 1, 5] += 1
    real[:, 0] += 1
    for found in (sums(h, other, kernel), sums(moved, before, kernel)):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert float(sums(h, real, kernel)[LOSS]) != float(expected[LOSS])


@pytest.mark.parametrize("isolate", [False, True])
def test_gradients_by_central_differences(case, rng, isolate):
    """With the target held, and for a pure probe the input, too."""
    inputs, previous = case
    h, _, kernel = (np.float64(x) for x in inputs)
    gradients = jax.grad(lambda *x: metrics(*x, isolate=isolate)["uboo"], argnums=(0, 1, 2))(
        *map(jnp.asarray, inputs)
    )
    moves = [rng.normal(size=x.shape) for x in inputs]
    step = 1e-6
    for i, (move, gradient) in enumerate(zip(moves, gradients, strict=True)):
        losses = []
        for s in (step, -step):
            moved = previous.copy()
            if i == 0:
                moved[:, :, 1:] += s * move[:, :, :-1]
            if i == 1:
                moved[:, :, 0] += s * move
            losses.append(by_hand(moved, h, kernel + s * move if i == 2 else kernel))
        finite = (losses[0] - losses[1]) / (2 * step)
        if isolate and i < 2:
            np.testing.assert_array_equal(gradient, 0)
        else:
            assert relative_error(np.sum(np.asarray(gradient) * move), finite) <= 1e-5


def test_reports_beside_the_loss_have_no_gradient_into_the_model(case):
    inputs, _ = case

    def reports(*inputs):
        found = sums(*inputs)
        return sum(jnp.sum(found[name]) for name in ("identity", "square", "total"))

    gradients = jax.grad(reports, argnums=(0, 1))(*inputs)
    jax.tree.map(lambda gradient: np.testing.assert_array_equal(gradient, 0), gradients)


def test_bfloat16_states_are_normalised_in_float32(rng):
    x = jnp.asarray(rng.normal(size=(4, 64)), jnp.bfloat16)
    assert normalise(x).dtype == jnp.float32
    assert relative_error(normalise(x), unit(np.asarray(x, np.float64))) <= 1e-6
