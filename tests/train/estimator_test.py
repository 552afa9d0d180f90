import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmrec_jax.config import OptimConfig
from mmrec_jax.models.noise import with_embedding_noise
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.optim.sophia import scale_by_sophia
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import joined
from mmrec_jax.train.step import make_refresh, make_train_step
from tests.small_step import RECORDER, assert_close, batch, build, linear_model, start


@functools.cache
def _begun(noisy):
    model = linear_model(dropout=0.5 if noisy else 0.0)
    objectives = build(model, uboo=UBOOConfig(weight=3.0)) if noisy else build(model)
    model = with_embedding_noise(model, 50.0) if noisy else model
    return model, jax.jit(lambda: start(model, objectives, scale_by_sophia()))()


@functools.cache
def _estimates(accumulate=1, share=0.5, steps=1, noisy=False):
    """Of successive steps on the same batch at the same parameters."""
    model, state = _begun(noisy)
    estimator = make_estimator(OptimConfig(name="sophia_g", estimator_batch=share), accumulate)
    refresh = jax.jit(make_refresh(estimator, b2=0.0))  # whose average is the estimate
    return [
        refresh(model, state.replace(step=jnp.int32(number)), batch()).opt_state.h
        for number in range(steps)
    ]


def _alike(a, b):
    return np.allclose(a["embed"]["embedding"], b["embed"]["embedding"], rtol=0.1)


def test_noise_and_other_objectives_do_not_touch_the_estimate():
    estimate = _estimates(steps=2)[0]
    assert max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(estimate)) > 1e-3
    noisy = dict(_estimates(noisy=True)[0])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(noisy.pop("objectives")))
    assert_close(noisy, estimate, 2e-5)


def test_microbatches_do_not_change_the_estimate():
    """Nor do devices: `mesh_test.py`."""
    assert_close(_estimates(accumulate=2)[0], _estimates(steps=2)[0], 2e-4)


def test_part_of_the_rows_and_another_step_give_another_estimate():
    """Each step draws labels of its own."""
    first, second = _estimates(steps=2)
    assert not _alike(_estimates(share=1.0)[0], first)
    assert not _alike(second, first)


def test_a_step_after_a_refresh_is_the_update_with_the_estimate():
    model, optim = linear_model(), OptimConfig(name="sophia_g", b2=0.9, lr=0.1, warmup_steps=1)
    objectives, estimator = build(model, uboo=UBOOConfig()), make_estimator(optim)
    optimizer = build_optimizer(optim, 10, model.decays)
    refresh = jax.jit(make_refresh(estimator, optim.B2))
    step = jax.jit(make_train_step(optimizer, objectives))
    state = jax.jit(lambda: start(model, objectives, optimizer))()
    state, _ = step(model, refresh(model, state, batch()), batch(seed=1))
    after, _ = step(model, refresh(model, state, batch()), batch())

    params = joined(state.params, state.objectives)
    remembers = state.replace(opt_state=RECORDER.init(params))
    gradient = jax.jit(make_train_step(RECORDER, objectives))(model, remembers, batch())[0]
    remembers = state.replace(opt_state=scale_by_sophia().init(params))
    estimate = jax.jit(make_refresh(estimator, b2=0.0))(model, remembers, batch())
    given = gradient.opt_state, state.opt_state, params
    updates, expected = jax.jit(optimizer.update)(*given, hessian=estimate.opt_state.h)
    assert_close(after.opt_state, expected, 1e-5)
    moved = optax.apply_updates(params, updates)
    assert_close(joined(after.params, after.objectives), moved, 1e-5)
