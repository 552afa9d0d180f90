import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer, abstract_on
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.train.state import TrainState, from_items, to_items
from tests.optim.schedules_test import closed_form

_STEPS = 5


def _trees(rng):
    """A start and one gradient a step; the first gradients are clipped, the last are not.

    The kernels of two layers are stacked, one is wide; no two dimensions are the same.
    """
    shapes = {"kernel": (2, 3, 4), "embedding": (5, 3), "scale": (3,)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = [
        {name: rng.normal(size=x.shape) * size for name, x in params.items()}
        for size in (5.0, 1.0, 0.5, 0.05, 0.01)
    ]
    return params, gradients


def _by_hand(config, params, gradients, direction):
    """Clipping, schedule and decoupled decay of all but `scale`, float64.

    `direction(name, gradient, t)` is the step that the optimizer takes at rate 1, t from 1.
    """
    params = dict(params)
    for t, gradient in enumerate(gradients, start=1):
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        shrink = min(1.0, config.clip_norm / norm) if config.clip_norm else 1.0
        lr = closed_form(config, _STEPS, t - 1)
        for name in params:
            step = direction(name, gradient[name] * shrink, t)
            if name != "scale":
                step = step + config.weight_decay * params[name]
            params[name] = params[name] - lr * step
    return params


def _adam(b1, b2, eps, nesterov=False):
    """Kingma & Ba's Adam; with Nesterov's momentum that of Dozat."""
    mu, nu = {}, {}

    def direction(name, g, t):
        mu[name] = b1 * mu.get(name, 0) + (1 - b1) * g
        nu[name] = b2 * nu.get(name, 0) + (1 - b2) * g**2
        mean = mu[name] / (1 - b1**t)
        if nesterov:
            mean = b1 * mu[name] / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return mean / (np.sqrt(nu[name] / (1 - b2**t)) + eps)

    return direction


def _lion(config):
    """Algorithm 2 of arXiv 2302.06675."""
    m = {}

    def direction(name, g, t):
        before = m.get(name, np.zeros_like(g))
        m[name] = config.B2 * before + (1 - config.B2) * g
        return np.sign(config.B1 * before + (1 - config.B1) * g)

    return direction


def _muon(config):
    """Algorithm 1 of arXiv 2502.16982, each layer's kernel by itself; the rest by Adam."""
    mu, rest = {}, _adam(0.9, config.B2, config.EPS, nesterov=True)

    def orthogonal(x):
        x = x / (np.linalg.norm(x) + config.EPS)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x - 4.7750 * a @ x + 2.0315 * a @ a @ x
        return x

    def direction(name, g, t):
        if name != "kernel":
            return rest(name, g, t)
        b = config.B1
        mu[name] = b * mu.get(name, 0) + (1 - b) * g
        ahead = b * mu[name] / (1 - b ** (t + 1)) + (1 - b) * g / (1 - b**t)
        return 0.2 * np.sqrt(max(g.shape[1:])) * np.stack([orthogonal(x) for x in ahead])

    return direction


def _train(optimizer, params, gradients, state=None, **extra):
    params = jax.tree.map(jnp.float32, params)
    state = optimizer.init(params) if state is None else state
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(jax.tree.map(jnp.float32, gradient), state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize(
    ("name", "clip_norm"), [("adamw", 1.0), ("adamw", 0.0), ("lion", 1.0), ("muon", 1.0)]
)
def test_five_steps_are_the_papers_with_clipping_schedule_and_masked_decay(rng, name, clip_norm):
    eps = None if name == "lion" else 1e-3
    config = OptimConfig(
        name=name, lr=0.1, warmup_steps=2, weight_decay=0.3, clip_norm=clip_norm, eps=eps
    )
    start, gradients = _trees(rng)
    directions = {
        "adamw": _adam(config.B1, config.B2, config.EPS),
        "lion": _lion(config),
        "muon": _muon(config),
    }
    expected = _by_hand(config, start, gradients, directions[name])
    actual, _ = _train(build_optimizer(config, _STEPS), start, gradients)
    for leaf, value in expected.items():
        np.testing.assert_allclose(actual[leaf], value, rtol=2e-6, atol=4e-7, err_msg=leaf)


def test_a_parameter_without_gradient_moves_only_by_its_decay():
    config = OptimConfig(lr=0.5, warmup_steps=0, schedule="constant", weight_decay=0.1)
    params = {"kernel": jnp.full(2, 3.0), "scale": jnp.full(2, 3.0)}
    optimizer = build_optimizer(config, _STEPS)
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    np.testing.assert_allclose(updates["kernel"], -0.5 * 0.1 * 3.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["scale"], 0)


@pytest.mark.parametrize("name", ["lion", "muon"])
def test_arguments_of_other_optimizers_are_ignored_and_a_checkpoint_continues(rng, name, tmp_path):
    """Bit for bit, and whatever else a training loop may hand to `update`."""
    config = OptimConfig(name=name, lr=0.1, warmup_steps=2)
    start, gradients = _trees(rng)
    optimizer = build_optimizer(config, _STEPS)
    whole, _ = _train(optimizer, start, gradients)
    params, opt_state = _train(optimizer, start, gradients[:2], value=jnp.ones(()), other=None)
    key = jax.random.key_data(jax.random.key(0))
    state = TrainState(step=jnp.int32(2), params=params, opt_state=opt_state, key=key)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(2, to_items(state), data={}, meta={}, validation_loss=None)
    checkpointer.wait()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = abstract_on(jax.eval_shape(lambda: state), here)
    restored = from_items(checkpointer.restore(2, to_items(abstract))[0], abstract)
    checkpointer.close()
    resumed, _ = _train(optimizer, restored.params, gradients[2:], restored.opt_state)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_memory_is_that_of_two_moments_at_most(rng):
    """AdamW's and Sophia's state is the parameters twice, and a few numbers; Lion's once."""
    params = jax.tree.map(jnp.float32, _trees(rng)[0])
    one = sum(x.nbytes for x in jax.tree.leaves(params))
    numbers, sizes = {}, {}
    for name in ("adamw", "sophia_g", "sophia_h", "lion", "muon"):
        optimizer = build_optimizer(OptimConfig(name=name), _STEPS)
        arrays = jax.tree.leaves(jax.eval_shape(optimizer.init, params))
        numbers[name] = sum(x.ndim == 0 for x in arrays)
        sizes[name] = sum(x.size * x.dtype.itemsize for x in arrays if x.ndim > 1)
    assert max(numbers.values()) <= 8
    vectors = 2 * params["scale"].nbytes
    assert sizes["adamw"] == sizes["sophia_g"] == sizes["sophia_h"] == 2 * one - vectors
    assert sizes["lion"] == one - vectors / 2
    assert sizes["muon"] == sizes["adamw"] - params["kernel"].nbytes


@pytest.mark.parametrize(("name", "lr"), [("lion", 0.05), ("muon", 0.2)])
def test_a_few_steps_lower_the_loss(rng, name, lr):
    """Softmax regression whose kernel is stacked like that of a layer."""
    x = jnp.float32(rng.normal(size=(1, 40, 6)))
    labels = jnp.argmax(x[0] @ jnp.float32(rng.normal(size=(6, 4))), axis=-1)

    def loss(params):
        log_p = jax.nn.log_softmax((x @ params["kernel"])[0] * params["scale"])
        return -jnp.mean(log_p[jnp.arange(40), labels])

    params = {"kernel": jnp.zeros((1, 6, 4)), "scale": jnp.ones((1, 4))}
    optimizer = build_optimizer(OptimConfig(name=name, lr=lr, warmup_steps=3), 30)

    def update(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    run = jax.jit(lambda c: jax.lax.scan(update, c, length=30))
    _, losses = run((params, optimizer.init(params)))
    assert losses[-1] < 0.5 * losses[0]
