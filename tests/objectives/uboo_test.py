"""The auxiliary loss of one layer, by hand in float64, and where its gradient goes.

The mean over layers and the mask that the whole model gives are tested in model_test.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.objectives.uboo import StatePredictor, summarise
from tests.models.mmrec.loops import relative_error
from tests.models.mmrec.small_model import config

BATCH, LENGTH, WIDTH = 2, 6, 6
# Row 0 continues a document (its first token has a predecessor in h0) and begins one at 3; row 1
# begins at 0 and has padding at 2 and 5.
PREDICTABLE = np.array([[1, 1, 1, 0, 1, 1], [0, 1, 0, 1, 1, 0]], bool)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def by_hand(before: np.ndarray, after: np.ndarray, kernel: np.ndarray) -> float:
    """Mean squared error over channels and predictable tokens; `before` and `after` are states."""
    error = unit(before) @ kernel - unit(after)
    return float(np.mean(error[PREDICTABLE] ** 2))


@pytest.fixture
def case(rng):
    h = np.float32(rng.normal(size=(BATCH, LENGTH, WIDTH)))
    h[1, 2] = h[1, 1]  # padding holds its predecessor's state
    h[1, 5] = h[1, 4]
    h0 = np.float32(rng.normal(size=(BATCH, WIDTH)))
    kernel = np.float32(rng.normal(size=(WIDTH, WIDTH)))
    before = np.concatenate([h0[:, None], h[:, :-1]], axis=1)
    return h, h0, kernel, before


def predict(h, h0, kernel, predictable=PREDICTABLE, **changes):
    predictor = StatePredictor(config(use_uboo=True, **changes))
    sums = predictor.apply({"params": {"kernel": kernel}}, h, h0, jnp.asarray(predictable))
    return summarise(sums, WIDTH)


def test_values_by_hand(case):
    h, h0, kernel, before = case
    exact = [np.float64(x) for x in (before, h, kernel)]
    got = predict(jnp.asarray(h), jnp.asarray(h0), jnp.asarray(kernel))
    assert relative_error(got["loss"], by_hand(*exact)) <= 1e-6
    assert relative_error(got["identity"], by_hand(*exact[:2], np.eye(WIDTH))) <= 1e-6
    spread = np.mean(np.var(unit(exact[1])[PREDICTABLE], axis=0))
    assert relative_error(got["variance"], spread) <= 1e-6


def test_pieces_of_a_text_add_up_to_the_whole(case):
    """Sums of two pieces, the second of which continues from the first one's last state."""
    h, h0, kernel, _ = (jnp.asarray(x) for x in case)
    predictor = StatePredictor(config(use_uboo=True))
    sums = [
        predictor.apply({"params": {"kernel": kernel}}, part, first, jnp.asarray(where))
        for part, first, where in (
            (h[:, :4], h0, PREDICTABLE[:, :4]),
            (h[:, 4:], h[:, 3], PREDICTABLE[:, 4:]),
        )
    ]
    got = summarise(jax.tree.map(lambda *parts: jnp.stack(parts), *sums), WIDTH)
    expected = predict(h, h0, kernel)
    for name in expected:
        assert relative_error(got[name], expected[name]) <= 1e-6


def test_tokens_without_a_predecessor_do_not_count(case):
    """First tokens of a document and padding: their state may be anything."""
    h, h0, kernel, _ = (jnp.asarray(x) for x in case)
    expected = predict(h, h0, kernel)
    # Token 3 of row 0 begins a document: the state before it is no input, its own no target. As
    # the predecessor of token 4 it does count, so only its target is cut off here.
    other = predict(h, h0.at[1].add(1.0), kernel)
    for name in expected:
        np.testing.assert_array_equal(expected[name], other[name])
    moved = predict(h.at[1, 5].add(1.0), h0, kernel)
    for name in expected:
        np.testing.assert_array_equal(expected[name], moved[name])
    assert float(predict(h, h0.at[0].add(1.0), kernel)["loss"]) != float(expected["loss"])


def test_no_predictable_token_gives_zero(case):
    h, h0, kernel, _ = (jnp.asarray(x) for x in case)

    def loss(kernel):
        return predict(h, h0, kernel, np.zeros_like(PREDICTABLE))["loss"]

    value, gradient = jax.value_and_grad(loss)(kernel)
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_gradient_reaches_the_trunk_through_the_input_alone(case, rng):
    """Gradient of h by central differences with the target held: stop_gradient on n(h_t)."""
    h, h0, kernel, before = case
    gradients = jax.grad(lambda *x: predict(*x)["loss"], argnums=(0, 1, 2))(
        *(jnp.asarray(x) for x in (h, h0, kernel))
    )
    exact_before, exact_after, exact_kernel = (np.float64(x) for x in (before, h, kernel))
    moves = [rng.normal(size=x.shape) for x in (h, h0, kernel)]
    step = 1e-6
    for i, (move, gradient) in enumerate(zip(moves, gradients, strict=True)):
        losses = []
        for s in (step, -step):
            moved_before = exact_before.copy()
            if i == 0:
                moved_before[:, 1:] += s * move[:, :-1]
            if i == 1:
                moved_before[:, 0] += s * move
            moved_kernel = exact_kernel + s * move if i == 2 else exact_kernel
            losses.append(by_hand(moved_before, exact_after, moved_kernel))
        finite = (losses[0] - losses[1]) / (2 * step)
        assert relative_error(np.sum(np.asarray(gradient) * move), finite) <= 1e-5


def test_isolated_it_is_a_pure_probe(case):
    h, h0, kernel, _ = (jnp.asarray(x) for x in case)

    def gradients(isolate):
        return jax.value_and_grad(
            lambda *x: predict(*x, uboo_isolate=isolate)["loss"], argnums=(0, 1, 2)
        )(h, h0, kernel)

    value, (d_h, d_h0, d_kernel) = gradients(isolate=True)
    open_value, (_, _, open_kernel) = gradients(isolate=False)
    np.testing.assert_array_equal(value, open_value)
    np.testing.assert_array_equal(d_kernel, open_kernel)
    np.testing.assert_array_equal(d_h, 0)
    np.testing.assert_array_equal(d_h0, 0)
    assert float(jnp.max(jnp.abs(d_kernel))) > 0


@pytest.mark.parametrize("name", ["identity", "variance"])
def test_reports_beside_the_loss_have_no_gradient_into_the_trunk(case, name):
    h, h0, kernel, _ = (jnp.asarray(x) for x in case)
    gradients = jax.grad(lambda *x: predict(*x)[name], argnums=(0, 1))(h, h0, kernel)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)
