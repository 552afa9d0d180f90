import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim_config import OptimConfig
from tests.optim.schedules_test import closed_form

_STEPS = 5


def _trees(rng):
    """A start and one gradient a step; the first gradients are clipped, the last are not."""
    params = {"kernel": rng.normal(size=(3, 2)), "scale": rng.normal(size=3)}
    gradients = [
        {name: rng.normal(size=x.shape) * size for name, x in params.items()}
        for size in (5.0, 1.0, 0.5, 0.05, 0.01)
    ]
    return params, gradients


def _adamw_by_hand(config, params, gradients):
    """Kingma & Ba's Adam, decoupled decay on `kernel` alone, float64."""
    mu = {name: np.zeros_like(x) for name, x in params.items()}
    nu = {name: np.zeros_like(x) for name, x in params.items()}
    params = dict(params)
    for count, gradient in enumerate(gradients):
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        shrink = min(1.0, config.clip_norm / norm) if config.clip_norm else 1.0
        lr = closed_form(config, _STEPS, count)
        for name in params:
            g = gradient[name] * shrink
            mu[name] = config.B1 * mu[name] + (1 - config.B1) * g
            nu[name] = config.B2 * nu[name] + (1 - config.B2) * g**2
            mean = mu[name] / (1 - config.B1 ** (count + 1))
            square = nu[name] / (1 - config.B2 ** (count + 1))
            step = mean / (np.sqrt(square) + config.EPS)
            if name == "kernel":
                step = step + config.weight_decay * params[name]
            params[name] = params[name] - lr * step
    return params


@pytest.mark.parametrize("clip_norm", [1.0, 0.0])
def test_five_steps_are_adamw_with_clipping_schedule_and_masked_decay(rng, clip_norm):
    config = OptimConfig(lr=0.1, warmup_steps=2, weight_decay=0.3, clip_norm=clip_norm, eps=1e-3)
    start, gradients = _trees(rng)
    optimizer = build_optimizer(config, _STEPS)
    params = jax.tree.map(jnp.asarray, start)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, gradient), state, params)
        params = optax.apply_updates(params, updates)
    expected = _adamw_by_hand(config, start, gradients)
    for name, value in expected.items():
        np.testing.assert_allclose(params[name], value, rtol=2e-6, atol=1e-7, err_msg=name)


def test_a_parameter_without_gradient_moves_only_by_its_decay():
    config = OptimConfig(lr=0.5, warmup_steps=0, schedule="constant", weight_decay=0.1)
    params = {"kernel": jnp.full(2, 3.0), "scale": jnp.full(2, 3.0)}
    optimizer = build_optimizer(config, _STEPS)
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    np.testing.assert_allclose(updates["kernel"], -0.5 * 0.1 * 3.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["scale"], 0)
