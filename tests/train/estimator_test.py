import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmrec_jax.config import OptimConfig
from mmrec_jax.models.noise import with_embedding_noise
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.step import make_train_step
from tests.small_step import assert_close, batch, build, linear_model, start

# Remembers the estimate that it is given and moves nothing.
_RECORDER = optax.chain(
    optax.clip_by_global_norm(1e-3),
    optax.GradientTransformationExtraArgs(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda g, _, params=None, *, hessian: (jax.tree.map(jnp.zeros_like, g), hessian),
    ),
)


@functools.cache
def _estimates(accumulate=1, share=0.5, steps=1, noisy=False):
    """Of successive steps on the same batch at the same parameters."""
    model = linear_model(dropout=0.5 if noisy else 0.0)
    objectives = build(model, uboo=UBOOConfig(weight=3.0)) if noisy else build(model)
    model = with_embedding_noise(model, 50.0) if noisy else model
    estimator = make_estimator(OptimConfig(name="sophia_g", estimator_batch=share), accumulate)
    state = jax.jit(lambda: start(model, objectives, _RECORDER))()
    step = jax.jit(make_train_step(_RECORDER, objectives, accumulate, estimator))
    found = []
    for _ in range(steps):
        state, _ = step(model, state, batch())
        found.append(state.opt_state[1])
    return found


def _alike(a, b):
    return np.allclose(a["embed"]["embedding"], b["embed"]["embedding"], rtol=0.1)


def test_clipping_noise_and_other_objectives_do_not_touch_the_estimate():
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


def test_the_plain_step_carries_nothing_of_the_estimator():
    model, optim = linear_model(), OptimConfig(name="sophia_g")
    optimizer = build_optimizer(optim, 10, model.decays)
    state = jax.eval_shape(lambda: start(model, build(model), optimizer))

    def program(estimator):
        step = make_train_step(optimizer, build(model), 1, estimator)
        return jax.jit(step).lower(model, state, batch())

    plain, refresh = program(None), program(make_estimator(optim))
    flops = [p.cost_analysis()["flops"] for p in (plain, refresh)]
    assert flops[1] > 1.3 * flops[0]
    assert "stablehlo.case" not in refresh.as_text()
