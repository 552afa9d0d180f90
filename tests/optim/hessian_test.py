import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmrec_jax.optim.hessian import gnb, hutchinson, random_signs
from tests.models.mmrec import small_model
from tests.small_step import assert_close

_ROWS, _LENGTH, _WIDTH, _VOCAB = 8, 5, 3, 6


def _softmax_logits(params, batch):
    return batch["x"] @ params["kernel"] + params["bias"]


def _curved_logits(params, batch):
    """Not linear in the parameters, so that Gauss-Newton is not the Hessian."""
    return jnp.sin(2 * batch["x"] @ params["kernel"] + params["bias"])


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


@pytest.mark.parametrize("case", ["gnb", "gnb, equal weights", "gnb, curved", "hutchinson"])
def test_the_mean_is_the_gauss_newton_diagonal(regression, case):
    """Of softmax regression it is the Hessian's. The trace within 3 %, each within 5 errors."""
    params, batch = regression
    logits_fn = _curved_logits if "curved" in case else _softmax_logits
    if "equal" in case:
        batch["weights"] = jnp.float32(batch["weights"] > 0)

    def estimate(key):
        if case == "hutchinson":
            return hutchinson(key, _mean_nats(logits_fn), params, batch)
        return gnb(key, logits_fn, params, batch)

    @jax.jit
    def sampled():
        draws = jax.lax.map(estimate, jax.random.split(jax.random.key(1), 4000), batch_size=200)
        return draws, _gauss_newton_diagonal(logits_fn, params, batch)

    draws, exact = sampled()
    draws = np.concatenate([x.reshape(4000, -1) for x in jax.tree.leaves(draws)], axis=1)
    exact = np.concatenate([np.ravel(x) for x in jax.tree.leaves(exact)])
    mean, error = draws.mean(axis=0), draws.std(axis=0) / np.sqrt(4000)
    assert abs(mean.sum() / exact.sum() - 1) < 0.03
    np.testing.assert_array_less(np.abs(mean - exact), 5 * error + 1e-6 * exact.max())


@pytest.mark.soak
def test_hutchinson_goes_through_the_scanned_model(x64):
    """`u * (H u)` against central differences of the gradient along the same signs.

    The solver by passes in a scan over layers is where JAX needs `scan.own`.
    """
    # Without DPG: central differences are wrong where they cross the kink of its relu.
    model = small_model.config(memory="none", use_dpg=False, scan="parallel", dtype="float64")
    params = jax.tree.map(jnp.float64, small_model.random_parameters(model))
    tokens, rng = small_model.random_tokens(), np.random.default_rng(0)
    batch = {"targets": tokens[::-1], "weights": jnp.asarray(rng.choice([0, 1.0, 3], tokens.shape))}
    loss = _mean_nats(lambda params, _: model.build().apply(params, tokens).logits)
    key, gradient = jax.random.key(3), jax.jit(jax.grad(loss))
    signs = random_signs(key, params)
    ends = [jax.tree.map(lambda x, u, s=s: x + s * u, params, signs) for s in (1e-6, -1e-6)]
    ahead, behind = (gradient(end, batch) for end in ends)
    expected = jax.tree.map(lambda u, a, b: u * (a - b) / 2e-6, signs, ahead, behind)
    assert_close(jax.jit(lambda: hutchinson(key, loss, params, batch))(), expected, 1e-6)


def test_hutchinson_is_exact_where_the_hessian_is_diagonal(rng):
    curvature = {"a": jnp.float32(rng.normal(size=(3, 2))), "b": jnp.float32(rng.normal(size=4))}

    def loss(params, _):
        return sum(jnp.sum(c * params[name] ** 2) / 2 for name, c in curvature.items())

    params = jax.tree.map(jnp.ones_like, curvature)
    run = jax.jit(lambda key: hutchinson(key, loss, params, {"weights": jnp.ones((1, 1))}))
    for seed in range(3):
        assert_close(run(jax.random.key(seed)), curvature, 1e-6)


@pytest.mark.parametrize("estimator", ["gnb", "hutchinson"])
def test_micro_batches_and_devices_do_not_change_the_estimate(regression, estimator):
    params, batch = regression
    # Twice as many rows: one for each of four devices in each of four micro-batches.
    batch = jax.tree.map(lambda x: jnp.concatenate([x, x[::-1]]), batch)
    function, of = {
        "gnb": (gnb, _softmax_logits),
        "hutchinson": (hutchinson, _mean_nats(_softmax_logits)),
    }[estimator]

    def estimate(batch, accumulate):
        return function(jax.random.key(7), of, params, batch, accumulate=accumulate)

    run = jax.jit(estimate, static_argnums=1)
    for devices, accumulate in ((1, 4), (4, 1), (4, 4)):
        mesh = Mesh(np.asarray(jax.devices()[:devices]), ("data",))
        rows = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
        assert_close(run(rows, accumulate), run(batch, 1), 1e-5)


def test_estimates_are_float32_and_nothing_counts_where_no_weight_is(regression):
    params, batch = regression
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    batch["weights"] = jnp.zeros_like(batch["weights"])

    @jax.jit
    def both(key):
        loss = _mean_nats(_softmax_logits)
        return gnb(key, _softmax_logits, params, batch), hutchinson(key, loss, params, batch)

    for leaf in jax.tree.leaves(both(jax.random.key(0))):
        assert leaf.dtype == jnp.float32
        np.testing.assert_array_equal(leaf, 0)
