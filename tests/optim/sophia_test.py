import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim.hessian import hutchinson
from mmrec_jax.optim.sophia import scale_by_sophia, sophia, sophia_metrics
from tests.optim.schedules_test import closed_form

_STEPS, _EVERY = 20, 3


def _trees(rng):
    """A start, and a gradient and an estimate a step; some estimates are negative or zero."""
    start = {"kernel": rng.normal(size=(5, 4)), "scale": rng.normal(size=6)}

    def like(size):
        return {name: size * rng.normal(size=x.shape) for name, x in start.items()}

    gradients = [like(size) for size in np.geomspace(3.0, 0.3, _STEPS)]  # the first are clipped
    hessians = [jax.tree.map(lambda x: np.where(x > 1, 0, x + 1), like(1)) for _ in gradients]
    return start, gradients, hessians


def _by_hand(config, start, gradients, hessians):
    """Algorithm 3 of the paper, float64: the parameters and the unclipped share after each step."""
    m = {name: np.zeros_like(x) for name, x in start.items()}
    h = {name: np.zeros_like(x) for name, x in start.items()}
    params, steps = dict(start), []
    for t, (gradient, hessian) in enumerate(zip(gradients, hessians, strict=True), start=1):
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        shrink = min(1.0, config.clip_norm / norm) if config.clip_norm else 1.0
        lr, unclipped = closed_form(config, _STEPS, t - 1), []
        for name in start:
            m[name] = config.B1 * m[name] + (1 - config.B1) * gradient[name] * shrink
            if (t - 1) % _EVERY == 0:
                h[name] = config.B2 * h[name] + (1 - config.B2) * hessian[name]
            if name == "kernel":
                params[name] = params[name] - lr * config.weight_decay * params[name]
            ratio = m[name] / np.maximum(config.GAMMA * h[name], config.EPS)
            params[name] = params[name] - lr * np.clip(ratio, -1, 1)
            unclipped.append((np.abs(ratio) < 1).ravel())
        steps.append((dict(params), np.mean(np.concatenate(unclipped))))
    return steps


@pytest.mark.parametrize(("gamma", "least", "most"), [(30.0, 0.8, 1.0), (0.1, 0.05, 0.4)])
@pytest.mark.parametrize("clip_norm", [1.0, 0.0])
def test_twenty_steps_are_the_papers_algorithm(rng, gamma, least, most, clip_norm):
    """The first step included, with few and with many clipped coordinates, and over a resume."""
    config = OptimConfig(
        name="sophia_h", lr=0.1, warmup_steps=3, gamma=gamma, clip_norm=clip_norm, b2=0.9, b1=0.8
    )
    start, gradients, hessians = _trees(rng)
    optimizer = build_optimizer(config, _STEPS)
    expected = _by_hand(config, start, gradients, hessians)
    assert least < np.mean([share for _, share in expected]) < most

    update = jax.jit(optimizer.update)

    def train(params, state, first, last):
        for t in range(first, last + 1):
            extra = {"hessian": hessians[t - 1]} if (t - 1) % _EVERY == 0 else {}
            gradient, extra = jax.tree.map(jnp.float32, (gradients[t - 1], extra))
            updates, state = update(gradient, state, params, **extra)
            params = optax.apply_updates(params, updates)
            for name, value in expected[t - 1][0].items():
                np.testing.assert_allclose(params[name], value, rtol=1e-6, atol=1e-6)
            share = sophia_metrics(state)["sophia_unclipped"]
            np.testing.assert_allclose(share, expected[t - 1][1], rtol=1e-6)
        return params, state

    params = jax.tree.map(jnp.float32, start)
    params, state = train(params, optimizer.init(params), 1, 8)
    saved = jax.tree.map(np.asarray, (params, state))
    at_once = train(params, state, 9, _STEPS)
    resumed = train(*jax.tree.map(jnp.asarray, saved), 9, _STEPS)
    jax.tree.map(np.testing.assert_array_equal, at_once, resumed)


def test_metrics_describe_the_step():
    optimizer = scale_by_sophia(b1=0.0, b2=0.0, gamma=1.0, eps=1e-3)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    gradient = {"a": jnp.array([1.0, 5.0]), "b": jnp.array([0.0, -1.0])}
    hessian = {"a": jnp.array([2.0, -4.0]), "b": jnp.array([-4.0, 0.0])}
    updates, state = optimizer.update(gradient, optimizer.init(params), hessian=hessian)
    np.testing.assert_array_equal(updates["a"], [0.5, 1.0])
    np.testing.assert_array_equal(updates["b"], [0.0, -1.0])
    metrics = sophia_metrics((optax.EmptyState(), {"inner": state}))
    assert {name: float(x) for name, x in metrics.items()} == {
        "sophia_unclipped": 0.5,
        "sophia_update_rms": 0.75,
        "sophia_h_norm": 6.0,
        "sophia_h_nonpositive": 0.75,
    }
    assert sophia_metrics(optax.adam(1.0).init(params)) == {}


def _one_refresh(optimizer, params, gradient, hessian):
    updates, _ = optimizer.update(gradient, optimizer.init(params), params, hessian=hessian)
    return updates


@pytest.fixture
def problem(rng):
    """Parameters, a gradient and an estimate under which some coordinates are clipped."""
    start, gradients, hessians = _trees(rng)
    return jax.tree.map(jnp.float32, (start, gradients[-1], hessians[-1]))


def test_hyperparameters_can_be_injected(problem):
    injected = optax.inject_hyperparams(sophia)(learning_rate=0.1, gamma=0.7, b2=0.5)
    plain = sophia(learning_rate=0.1, gamma=0.7, b2=0.5)
    expected = _one_refresh(plain, *problem)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        _one_refresh(injected, *problem),
        expected,
    )


@pytest.mark.parametrize("masks_extra", [False, True])
def test_masked_coordinates_are_left_alone_and_the_others_see_their_curvature(problem, masks_extra):
    mask = {"kernel": True, "scale": False}
    inner = sophia(0.1, gamma=0.7, b2=0.5)
    updates = _one_refresh(
        optax.masked(inner, mask, mask_compatible_extra_args=masks_extra), *problem
    )
    alone = _one_refresh(inner, *({"kernel": tree["kernel"]} for tree in problem))
    np.testing.assert_array_equal(updates["kernel"], alone["kernel"])
    np.testing.assert_array_equal(updates["scale"], problem[1]["scale"])


def test_it_can_share_the_parameters_with_another_optimizer(problem):
    inner = sophia(0.1, gamma=0.7, b2=0.5)
    both = optax.multi_transform({"a": inner, "b": optax.sgd(1.0)}, {"kernel": "a", "scale": "b"})
    updates = _one_refresh(both, *problem)
    alone = _one_refresh(inner, *({"kernel": tree["kernel"]} for tree in problem))
    np.testing.assert_array_equal(updates["kernel"], alone["kernel"])
    np.testing.assert_array_equal(updates["scale"], -problem[1]["scale"])


def test_arguments_of_other_optimizers_are_ignored(problem):
    params, gradient, _ = problem
    optimizer = sophia(0.1)
    state = optimizer.init(params)
    expected = optimizer.update(gradient, state, params)
    actual = optimizer.update(gradient, state, params, value=1.0, loss_fn=None, other=params)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_parameters_keep_their_dtype_and_the_averages_are_float32(problem, dtype):
    params, gradient, hessian = jax.tree.map(lambda x: x.astype(dtype), problem)
    optimizer = sophia(0.1)
    updates, state = optimizer.update(gradient, optimizer.init(params), params, hessian=hessian)
    after = optax.apply_updates(params, updates)
    assert {x.dtype for x in jax.tree.leaves((updates, after))} == {jnp.dtype(dtype)}
    assert {x.dtype for x in jax.tree.leaves((state[0].m, state[0].h))} == {jnp.dtype(jnp.float32)}


def test_each_of_the_two_steps_is_compiled_once(problem):
    params, gradient, hessian = problem
    optimizer = sophia(optax.linear_schedule(1.0, 0.0, 9), mask={"kernel": True, "scale": False})
    plain = jax.jit(lambda g, s, p: optimizer.update(g, s, p))
    refresh = jax.jit(lambda g, s, p, h: optimizer.update(g, s, p, hessian=h))
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = refresh(gradient, state, params, hessian)
        params = optax.apply_updates(params, updates)
        updates, state = plain(gradient, state, params)
        params = optax.apply_updates(params, updates)
    assert (plain._cache_size(), refresh._cache_size()) == (1, 1)


def _parabola(params, batch):
    del batch
    return jnp.sum(jnp.square(params["x"] - jnp.arange(3.0)))


def _rosenbrock(params, batch):
    del batch
    x, y = params["x"][0], params["x"][1]
    return jnp.square(1 - x) + 100 * jnp.square(y - jnp.square(x))


@pytest.mark.parametrize(
    ("loss", "start", "goal"),
    [(_parabola, [-1.0, 10.0, 1.0], [0.0, 1.0, 2.0]), (_rosenbrock, [-1.0, 0.0], [1.0, 1.0])],
)
def test_it_converges(loss, start, goal):
    """Through the estimator, on a convex and a curved problem, to the minimum itself."""
    optimizer = sophia(2e-2, b1=0.9, b2=0.99, gamma=0.05, weight_decay=0.0)
    batch = {"weights": jnp.ones((1, 1))}
    params = {"x": jnp.asarray(start)}

    def update(carry, t):
        params, state = carry
        gradient, key = jax.grad(loss)(params, batch), jax.random.fold_in(jax.random.key(0), t)
        hessian = hutchinson(key, loss, params, batch)
        updates, state = optimizer.update(gradient, state, params, hessian=hessian)
        return (optax.apply_updates(params, updates), state), None

    begin = (params, optimizer.init(params))
    (params, _), _ = jax.jit(lambda c: jax.lax.scan(update, c, jnp.arange(20_000)))(begin)
    np.testing.assert_allclose(params["x"], goal, rtol=0.01, atol=0.01)
