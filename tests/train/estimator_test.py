import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.config import OptimConfig
from mmrec_jax.models.noise import with_embedding_noise
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.loop import run
from mmrec_jax.train.step import make_train_step
from tests.small_run import linear_config
from tests.small_step import assert_close, batch, build, linear_model, mesh, on_mesh, start

# Remembers the estimate that it is given and moves nothing.
_RECORDER = optax.chain(
    optax.clip_by_global_norm(1e-3),
    optax.GradientTransformationExtraArgs(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda g, _, params=None, *, hessian: (jax.tree.map(jnp.zeros_like, g), hessian),
    ),
)


@functools.cache
def _estimates(
    name="sophia_g", accumulate=1, devices=(1, 1), share=0.5, steps=1, noisy=False, dropout=0.0
):
    """Of successive steps on the same batch at the same parameters."""
    model = linear_model(dropout=dropout)
    objectives = build(model, uboo=UBOOConfig(weight=3.0)) if noisy else build(model)
    model = with_embedding_noise(model, 50.0) if noisy else model
    estimator = make_estimator(OptimConfig(name=name, estimator_batch=share), accumulate)
    state, step = on_mesh(mesh(*devices), model, objectives, _RECORDER, accumulate, estimator)
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
    noisy = dict(_estimates(dropout=0.5, noisy=True)[0])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(noisy.pop("objectives")))
    assert_close(noisy, estimate, 2e-5)


@pytest.mark.parametrize("devices", [(2, 1), (1, 2)])
def test_microbatches_and_devices_do_not_change_the_estimate(devices):
    found = _estimates(accumulate=2, devices=devices)[0]
    assert_close(found, _estimates(steps=2)[0], 2e-4)


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


def test_a_continued_run_ends_as_an_uninterrupted_one(text, tmp_path):
    """Refreshes come by the step of the run, with labels that the step's number decides."""
    options = {
        "optim__name": "sophia_g",
        "optim__schedule": "constant",
        "optim__hessian_every": 3,
        "train__log_every": 1,
        "train__sample_tokens": 0,
        "train__eval_every": 100,
    }
    assert run(linear_config(text, **options, train__steps=8), tmp_path / "whole") == 0
    assert run(linear_config(text, **options, train__steps=5), tmp_path / "cut") == 0
    assert run(linear_config(text, **options, train__steps=8), tmp_path / "cut") == 0

    def numbers(folder):
        lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
        names = ("loss", "grad_norm", "sophia_unclipped", "sophia_update_rms", "sophia_h_norm")
        return [[line[name] for name in names] for line in lines if line["split"] == "train"]

    whole = numbers(tmp_path / "whole")
    assert numbers(tmp_path / "cut") == whole
    norms = [line[-1] for line in whole]
    changed = [i + 2 for i in range(7) if norms[i + 1] != norms[i]]
    assert changed == [4, 7]
