import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer, decay_mask, learning_rate
from mmrec_jax.optim.sophia import sophia_metrics
from mmrec_jax.train.state import joined
from mmrec_jax.tree import named_leaves
from tests.small_step import TOKENIZER

_STEPS = 5
_EVERY = 3  # steps from one estimate of the curvature to the next


def _decays(name):
    return name != "scale"


def _closed_form(config, steps, count):
    """Learning rate of the update with this count, from 0; no step is wasted at rate 0."""
    constant = config.schedule == "constant"
    warmup = config.warmup_steps if constant else min(config.warmup_steps, steps)
    if count < warmup:
        return config.lr * (count + 1) / warmup
    floor = config.lr * config.final_lr_fraction
    done = min((count - warmup) / max(steps - warmup, 1), 1.0)
    if config.schedule == "cosine":
        return floor + (config.lr - floor) * (1 + math.cos(math.pi * done)) / 2
    return config.lr + (floor - config.lr) * done if config.schedule == "linear" else config.lr


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (1, 10), (4, 20), (30, 10), (10, 10)])
def test_every_step_follows_the__closed_formula(schedule, warmup, steps):
    config = OptimConfig(lr=0.3, schedule=schedule, warmup_steps=warmup, final_lr_fraction=0.2)
    schedule = learning_rate(config, steps)
    counts = range(steps + 3)
    expected = [_closed_form(config, steps, count) for count in counts]
    np.testing.assert_allclose([schedule(count) for count in counts], expected, rtol=5e-6)


def test_a_constant_schedule_does_not_know_the_length():
    """Such a run may be made longer when it is resumed, in the middle of the warm-up too."""
    config = OptimConfig(lr=1e-2, schedule="constant", warmup_steps=10)
    short, long = learning_rate(config, 4), learning_rate(config, 100)
    assert [float(short(i)) for i in range(20)] == [float(long(i)) for i in range(20)]
    assert float(long(3)) == pytest.approx(4e-3)


def _trees(rng, steps=_STEPS):
    """A start, and a gradient and an estimate a step.

    The first gradients are clipped, the last are not; some estimates are negative or zero. The
    kernels of two layers are stacked, one is wide; no two dimensions are the same.
    """
    shapes = {"kernel": (2, 3, 4), "embedding": (5, 3), "scale": (3,)}

    def draw(size=1.0):
        return {name: size * rng.normal(size=shape) for name, shape in shapes.items()}

    start = draw()
    gradients = [draw(size) for size in np.geomspace(5.0, 0.01, steps)]
    for gradient in gradients:
        gradient["embedding"][0] = 0  # a token that never occurs moves only by its decay
    estimates = [jax.tree.map(lambda x: np.where(x > 1, 0, x + 1), draw()) for _ in gradients]
    return start, gradients, estimates


def _by_hand(config, params, gradients, direction):
    """Clipping, schedule and decoupled decay of all but `scale`, float64.

    `direction(name, gradient, t)` is the step that the optimizer takes at rate 1, t from 1.
    """
    params = dict(params)
    for t, gradient in enumerate(gradients, start=1):
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        shrink = min(1.0, config.clip_norm / norm) if config.clip_norm else 1.0
        lr = _closed_form(config, len(gradients), t - 1)
        for name in params:
            step = direction(name, gradient[name] * shrink, t)
            if name != "scale":
                step = step + config.weight_decay * params[name]
            params[name] = params[name] - lr * step
    return params


class _Rounded(dict):
    """What is kept in bfloat16 from one step to the next."""

    def get(self, name, default=None):
        found = super().get(name, default)
        return np.asarray(found, jnp.bfloat16).astype(np.float64)


def _adam(b1, b2, eps, nesterov=False, memory=dict):
    """Kingma & Ba's Adam; with Nesterov's momentum that of Dozat."""
    mu, nu = memory(), memory()

    def direction(name, g, t):
        mu[name] = b1 * mu.get(name, 0) + (1 - b1) * g
        nu[name] = b2 * nu.get(name, 0) + (1 - b2) * g**2
        mean = mu[name] / (1 - b1**t)
        if nesterov:
            mean = b1 * mu[name] / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return mean / (np.sqrt(nu[name] / (1 - b2**t)) + eps)

    return direction


def _lion(config, memory=dict):
    """Algorithm 2 of arXiv 2302.06675."""
    m = memory()

    def direction(name, g, t):
        before = m.get(name, 0 * g)
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


def _sophia(config, estimates, unclipped):
    """Algorithm 3 of arXiv 2305.14342; `unclipped` takes the coordinates that are not cut off."""
    m, h = {}, {}

    def direction(name, g, t):
        m[name] = config.B1 * m.get(name, 0) + (1 - config.B1) * g
        if (t - 1) % _EVERY == 0:
            h[name] = config.B2 * h.get(name, 0) + (1 - config.B2) * estimates[t - 1][name]
        ratio = m[name] / np.maximum(config.GAMMA * h[name], config.EPS)
        unclipped.setdefault(t, []).extend(np.ravel(np.abs(ratio) < 1))
        return np.clip(ratio, -1, 1)

    return direction


def _train(optimizer, params, gradients, estimates):
    """Through gradients and, every few steps, estimates, which only Sophia reads."""
    params = jax.tree.map(jnp.float32, params)
    state, update = jax.jit(optimizer.init)(params), jax.jit(optimizer.update)
    for t, gradient in enumerate(gradients):
        extra = {"hessian": jax.tree.map(jnp.float32, estimates[t])} if t % _EVERY == 0 else {}
        updates, state = update(jax.tree.map(jnp.float32, gradient), state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_moments_in_bfloat16_are_rounded_from_one_step_to_the_next(rng, name):
    """Gradients are whole numbers and decays 1/2, so that nothing else is rounded."""
    fields = {"b1": 0.5, "b2": 0.5, "clip_norm": 0.0, "schedule": "constant", "warmup_steps": 0}
    config = OptimConfig(name=name, lr=0.1, moment_dtype="bfloat16", **fields)
    start = {"kernel": rng.normal(size=(7, 9))}
    gradients = [{"kernel": rng.integers(-900, 900, size=(7, 9)) * 1.0} for _ in range(4)]
    directions = {
        "adamw": lambda memory: _adam(0.5, 0.5, config.EPS, memory=memory),
        "lion": lambda memory: _lion(config, memory=memory),
    }
    rounded, exact = (
        _by_hand(config, start, gradients, directions[name](memory))["kernel"]
        for memory in (_Rounded, dict)
    )
    actual, state = _train(build_optimizer(config, 4, _decays), start, gradients, [{}] * 4)
    np.testing.assert_allclose(actual["kernel"], rounded, rtol=1e-5, atol=1e-6)
    assert name == "lion" or np.max(np.abs(exact - rounded)) > 1e-4  # it takes signs alone
    kept = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", ["adamw", "lion", "sophia_g"])
@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_moments_have_their_own_dtype_whatever_the_parameters_have(name, moments):
    params = {"kernel": jnp.ones((3, 4), jnp.bfloat16), "scale": jnp.ones(3)}
    optimizer = build_optimizer(OptimConfig(name=name, moment_dtype=moments), _STEPS, _decays)
    state = jax.eval_shape(optimizer.init, params)
    updates, after = jax.eval_shape(optimizer.update, params, state, params)
    for each in (state, after):
        assert {x.dtype for x in jax.tree.leaves(each) if x.ndim} == {jnp.dtype(moments)}
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float32)}
    assert jax.eval_shape(optax.apply_updates, params, updates)["kernel"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("adamw", {"eps": 1e-3}),
        ("adamw", {"eps": 1e-3, "clip_norm": 0.0}),
        ("lion", {}),
        ("muon", {"eps": 1e-3}),
        ("sophia_h", {"gamma": 30.0, "b1": 0.8, "b2": 0.9}),
        ("sophia_h", {"gamma": 0.1, "b1": 0.8, "b2": 0.9, "clip_norm": 0.0}),
    ],
)
def test_steps_are_the_papers_with_clipping_schedule_and_masked_decay(rng, name, fields):
    """Sophia's with few and with many clipped coordinates."""
    config = OptimConfig(name=name, lr=0.1, warmup_steps=2, weight_decay=0.3, **fields)
    steps = 20 if name == "sophia_h" else _STEPS
    trees, unclipped = _trees(rng, steps), {}
    directions = {
        "adamw": lambda: _adam(config.B1, config.B2, config.EPS),
        "lion": lambda: _lion(config),
        "muon": lambda: _muon(config),
        "sophia_h": lambda: _sophia(config, trees[2], unclipped),
    }
    expected = _by_hand(config, *trees[:2], directions[name]())
    actual, state = _train(build_optimizer(config, steps, _decays), *trees)
    for leaf, value in expected.items():
        np.testing.assert_allclose(actual[leaf], value, rtol=2e-6, atol=4e-7, err_msg=leaf)
    if name == "sophia_h":
        shares = {t: np.mean(found) for t, found in unclipped.items()}
        least, most = (0.8, 1.0) if config.GAMMA > 1 else (0.05, 0.5)
        assert least < np.mean(list(shares.values())) < most
        np.testing.assert_allclose(sophia_metrics(state)["sophia_unclipped"], shares[steps])


def test_memory_is_that_of_two_moments_at_most(rng):
    """AdamW's and Sophia's state is the parameters twice, and a few numbers; Lion's once."""
    params = jax.tree.map(jnp.float32, _trees(rng)[0])
    kernel = params["kernel"].nbytes
    one = kernel + params["embedding"].nbytes  # of the matrices
    expected = {"adamw": 2 * one, "sophia_g": 2 * one, "sophia_h": 2 * one, "lion": one}
    for name, size in (expected | {"muon": 2 * one - kernel}).items():
        optimizer = build_optimizer(OptimConfig(name=name), _STEPS, _decays)
        arrays = jax.tree.leaves(jax.eval_shape(optimizer.init, params))
        assert sum(x.ndim == 0 for x in arrays) <= 8
        assert sum(x.size * x.dtype.itemsize for x in arrays if x.ndim > 1) == size


# What decays of a full model: matrices only.
_DECAYED = {
    "embed/embedding",
    "blocks/project/fused/kernel",
    "blocks/dpg_down/kernel",
    "blocks/dpg_up/kernel",
    "blocks/qk/kernel",
    "blocks/out/kernel",
    "blocks/ffn/gate_value/kernel",
    "blocks/ffn/down/kernel",
    "objectives/uboo/kernel",
}


def test_matrices_decay_and_norms_biases_decays_and_gates_do_not():
    model, key = MMRecConfig(model_dim=16, num_memories=2).build(), jax.random.key(0)
    uboo = UBOOConfig().build(model, TOKENIZER)
    own = {"uboo": jax.eval_shape(lambda: uboo.init(key, model))}
    mask = named_leaves(decay_mask(model.decays)(joined(jax.eval_shape(model.init, key), own)))
    assert {name for name, decays in mask.items() if decays} == _DECAYED
    others = {name.rsplit("/", 1)[-1] for name, decays in mask.items() if not decays}
    assert others == {"scale", "b_gamma", "b_alpha", "w_g", "c_g"}
    with pytest.raises(ValueError, match="blocks/new_thing"):
        decay_mask(model.decays)({"blocks": {"new_thing": 1.0, "norm": {"scale": 1.0}}})


def _tables():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(_STEPS, 6, 4)) * np.array([1, 1, 1e-4, 0, 1e-4, 1])[:, None]
    params = {"embed": {name: jnp.ones((6, 4)) for name in ("new_embedding", "embedding")}}
    return params, gradients


def _moved(config, **how):
    """What each table was moved by in every step."""
    params, gradients = _tables()
    optimizer = build_optimizer(config, _STEPS, _decays, **how)
    state, moved, update = jax.jit(optimizer.init)(params), [], jax.jit(optimizer.update)
    for each in gradients:
        given = {"embed": dict.fromkeys(params["embed"], np.float32(each))}
        updates, state = update(given, state, params)
        moved.append(updates["embed"])
    return [np.stack([each[name] for each in moved]) for name in ("new_embedding", "embedding")]


def test_rows_of_new_tokens_share_the_second_moment_of_a_column():
    config = OptimConfig(lr=0.1, schedule="constant", warmup_steps=0, clip_norm=0.0)
    new, old = _moved(config, new_rows=True)
    _, gradients = _tables()
    m, v = np.zeros((6, 4)), np.zeros(4)
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.95 * v + 0.05 * np.mean(g**2, axis=0)
        expected = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        np.testing.assert_allclose(new[t - 1], -0.1 * 2.0 * expected, rtol=1e-4, atol=1e-9)
    # A row of small gradients moves by little, where Adam takes a whole step, and decay another.
    assert np.abs(new[:, 2]).max() < 1e-3
    assert np.abs(old[0, 2]).min() > 0.08
    assert not new[:, 3].any()


def test_without_new_rows_or_a_rate_of_their_own_they_are_as_others():
    config = OptimConfig(lr=0.1, warmup_steps=0)
    for settings, how in (
        (config, {}),
        (dataclasses.replace(config, new_rows_lr=0.0), {"new_rows": True}),
    ):
        new, old = _moved(settings, **how)
        np.testing.assert_array_equal(new, old)
    assert OptimConfig.__dataclass_fields__["new_rows_lr"].metadata["absent"] == 0.0
