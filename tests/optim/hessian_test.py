import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmrec_jax.optim.hessian import gnb, hutchinson, random_signs
from tests.models.mmrec import small_model

_ROWS, _LENGTH, _WIDTH, _VOCAB = 8, 5, 3, 6


def _softmax_logits(params, batch):
    return batch["x"] @ params["kernel"] + params["bias"]


@pytest.fixture
def regression(rng):
    """Softmax regression: parameters, and rows of very different weights, some of them nothing."""
    params = {"kernel": rng.normal(size=(_WIDTH, _VOCAB)), "bias": rng.normal(size=(1, 1, _VOCAB))}
    weights = rng.choice([0.0, 0.25, 1.0, 3.0], (_ROWS, _LENGTH))
    weights[2] = 0
    weights[5] *= 10
    batch = {"x": rng.normal(size=(_ROWS, _LENGTH, _WIDTH)), "weights": weights}
    params, batch = jax.tree.map(jnp.float32, (params, batch))
    targets = jnp.int32(rng.integers(0, _VOCAB, (_ROWS, _LENGTH)))
    return params, batch | {"targets": targets}


def _gauss_newton_diagonal(logits_fn, params, batch):
    """From the dense Jacobian and the dense Hessian of the cross-entropy."""
    jacobian = jax.jacrev(logits_fn)(params, batch)
    p = jax.nn.softmax(logits_fn(params, batch))
    inner = p[..., :, None] * (jnp.eye(p.shape[-1])[None, None] - p[..., None, :])
    w = batch["weights"] / jnp.sum(batch["weights"])

    def diagonal(x, j):
        flat = j.reshape(*p.shape, x.size)
        return jnp.einsum("bt,btvp,btvu,btup->p", w, flat, inner, flat).reshape(x.shape)

    return jax.tree.map(diagonal, params, jacobian)


def _mean_nats(logits_fn):
    def loss(params, batch):
        log_p = jax.nn.log_softmax(logits_fn(params, batch))
        nats = -jnp.take_along_axis(log_p, batch["targets"][..., None], axis=-1)[..., 0]
        return jnp.sum(batch["weights"] * nats) / jnp.maximum(jnp.sum(batch["weights"]), 1e-9)

    return loss


def _mean_and_error(estimate, draws, size=200):
    """Mean of the estimates under many keys, and its standard error."""
    keys = jax.random.split(jax.random.key(1), draws)
    samples = jax.lax.map(estimate, keys, batch_size=size)
    mean = jax.tree.map(lambda x: x.mean(0), samples)
    return mean, jax.tree.map(lambda x: x.std(0) / np.sqrt(draws), samples)


def _assert_unbiased(mean, error, exact):
    """The trace within 3 %, each coordinate within 5 standard errors."""
    mean, error, exact = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
        for tree in (mean, error, exact)
    )
    assert abs(mean.sum() / exact.sum() - 1) < 0.03
    np.testing.assert_array_less(np.abs(mean - exact), 5 * error + 1e-6 * exact.max())


def _padded(params):
    """Three more rows of the vocabulary, which would be drawn nearly always."""
    kernel, bias = params["kernel"], params["bias"]
    return {
        "kernel": jnp.pad(kernel, ((0, 0), (0, 3)), constant_values=2.0),
        "bias": jnp.pad(bias, ((0, 0), (0, 0), (0, 3)), constant_values=50.0),
    }


@pytest.mark.parametrize("case", ["gnb", "gnb, equal weights", "gnb, padded", "hutchinson"])
def test_the_mean_is_the_diagonal_of_softmax_regression(regression, case):
    """The logits are linear in the parameters, so that Gauss-Newton is the Hessian."""
    params, batch = regression
    if case == "gnb, equal weights":
        batch["weights"] = jnp.float32(batch["weights"] > 0)
    exact = _gauss_newton_diagonal(_softmax_logits, params, batch)

    def estimate(key):
        if case == "hutchinson":
            return hutchinson(key, _mean_nats(_softmax_logits), params, batch)
        if case == "gnb, padded":
            return gnb(key, _softmax_logits, _padded(params), batch, vocab_size=_VOCAB)
        return gnb(key, _softmax_logits, params, batch)

    mean, error = jax.jit(lambda: _mean_and_error(estimate, 4000))()
    if case == "gnb, padded":
        assert not any(np.any(np.asarray(x[..., _VOCAB:])) for x in mean.values())
        mean, error = (jax.tree.map(lambda x: x[..., :_VOCAB], tree) for tree in (mean, error))
    _assert_unbiased(mean, error, exact)


def _block(**changes):
    """A model of one block: its logits function, parameters, and a batch with padding."""
    config = small_model.config(num_layers=1, **changes)
    model = config.build()
    rng = np.random.default_rng(0)
    shape = (2, 6)
    real = np.arange(6) < np.array([[6], [4]])
    batch = {
        "inputs": rng.integers(0, config.vocab_size, shape) * real,
        "targets": rng.integers(0, config.vocab_size, shape) * real,
        "segment_ids": real * (1 + (np.arange(6) >= 3)),
    }
    batch = jax.tree.map(jnp.int32, batch)
    batch["weights"] = jnp.float32(rng.choice([0.5, 2.0], shape) * real)

    def logits_fn(params, batch):
        return model.apply(params, batch["inputs"], None, batch["segment_ids"]).logits

    params = small_model.random_parameters(config)
    # Every label has to be drawn now and then, or few draws say little about the mean.
    params["embed"]["embedding"] *= 0.3
    return logits_fn, params, batch


def test_gnb_is_the_gauss_newton_diagonal_of_a_block():
    logits_fn, params, batch = _block()
    exact = jax.jit(lambda: _gauss_newton_diagonal(logits_fn, params, batch))()
    mean, error = jax.jit(
        lambda: _mean_and_error(lambda key: gnb(key, logits_fn, params, batch), 2000)
    )()
    _assert_unbiased(mean, error, exact)


def test_hutchinson_goes_through_a_block():
    """`u * (H u)` against central differences of the gradient along the same signs.

    The solver by passes has the derivative rules of its own; every other scan backend has a test
    of Hessian-vector products in tests/models/mmrec/recurrence_test.py and memory_test.py.
    """
    # Without DPG: central differences are wrong where they cross the kink of its relu.
    logits_fn, params, batch = _block(use_dpg=False, gate="state", scan="parallel")
    loss, key = _mean_nats(logits_fn), jax.random.key(3)
    estimate = jax.jit(lambda: hutchinson(key, loss, params, batch))()
    gradient = jax.jit(jax.grad(loss))
    signs = random_signs(key, params)

    def at(step):
        return gradient(jax.tree.map(lambda x, u: x + step * u, params, signs), batch)

    def difference(step):
        return jax.tree.map(lambda a, b: (a - b) / (2 * step), at(step), at(-step))

    expected = jax.tree.map(  # Richardson: the error falls with the fourth power of the step
        lambda u, coarse, fine: u * (4 * fine - coarse) / 3,
        signs,
        difference(4e-4),
        difference(2e-4),
    )
    scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=3e-3 * scale),
        estimate,
        expected,
    )


def test_hutchinson_is_exact_where_the_hessian_is_diagonal(rng):
    curvature = {"a": jnp.float32(rng.normal(size=(3, 2))), "b": jnp.float32(rng.normal(size=4))}
    params = jax.tree.map(jnp.ones_like, curvature)

    def loss(params, batch):
        del batch
        parts = jax.tree.map(lambda c, x: jnp.sum(c * x**2) / 2, curvature, params)
        return sum(jax.tree.leaves(parts))

    for seed in range(3):
        estimate = hutchinson(jax.random.key(seed), loss, params, {"weights": jnp.ones((1, 1))})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), estimate, curvature)


@pytest.mark.parametrize("estimator", ["gnb", "hutchinson"])
def test_micro_batches_and_devices_do_not_change_the_estimate(regression, estimator):
    params, batch = regression
    # Twice as many rows: one for each of four devices in each of four micro-batches.
    batch = jax.tree.map(lambda x: jnp.concatenate([x, x[::-1]]), batch)
    key = jax.random.key(7)

    def estimate(params, batch, accumulate):
        if estimator == "gnb":
            return gnb(key, _softmax_logits, params, batch, accumulate=accumulate)
        return hutchinson(key, _mean_nats(_softmax_logits), params, batch, accumulate=accumulate)

    expected = jax.jit(estimate, static_argnums=2)(params, batch, 1)
    scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(expected))
    for devices in (1, 2, 4):
        mesh = Mesh(np.asarray(jax.devices()[:devices]), ("data",))
        rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
        everywhere = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        for accumulate in (1, 2, 4):
            actual = jax.jit(estimate, static_argnums=2)(everywhere, rows, accumulate)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * scale),
                actual,
                expected,
            )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_estimates_are_float32_and_nothing_counts_where_no_weight_is(regression, dtype):
    params, batch = regression
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    batch["weights"] = jnp.zeros_like(batch["weights"])
    key, loss = jax.random.key(0), _mean_nats(_softmax_logits)
    for estimate in (
        gnb(key, _softmax_logits, params, batch),
        hutchinson(key, loss, params, batch),
    ):
        for x in jax.tree.leaves(estimate):
            assert x.dtype == jnp.float32
            np.testing.assert_array_equal(x, 0)
