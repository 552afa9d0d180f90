import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mmrec_jax.train.noise import make_noise

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import NoiseConfig, OptimConfig, TrainConfig
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.loop import run
from mmrec_jax.train.mesh import make_mesh, place_batch, replicated
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.small_run import linear_config, small_model
from tests.train.loop_test import _metrics

# Remembers the estimate that it is given and moves nothing.
_RECORDER = optax.chain(
    optax.clip_by_global_norm(1e-3),
    optax.GradientTransformationExtraArgs(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda g, _, params=None, *, hessian: (jax.tree.map(jnp.zeros_like, g), hessian),
    ),
)
_ROWS = 8


def _batch():
    """Rows of very different weight."""
    rng = np.random.default_rng(0)
    real = np.arange(6) < rng.integers(1, 7, (_ROWS, 1))
    batch = {name: rng.integers(0, 50, (_ROWS, 6)) for name in ("inputs", "targets")}
    batch |= {"segment_ids": real}
    batch = {name: np.where(real, x, 0).astype(np.int32) for name, x in batch.items()}
    weights = np.where(real, rng.choice([0.2, 1.0, 5.0], (_ROWS, 6)), 0)
    return batch | {"weights": weights.astype(np.float32)}


def _estimates(
    name="sophia_g", accumulate=1, devices=1, fraction=0.5, steps=1, noise=None, **model
):
    """Of successive steps on the same batch at the same parameters."""
    model = MMRecLM(small_model(gate="none", memory="none", **model))
    config = OptimConfig(name=name, estimator_batch=fraction)
    mesh = make_mesh(TrainConfig(steps=1, batch_size=_ROWS, accumulate=accumulate, devices=devices))
    start = jax.jit(lambda: initial_state(model, _RECORDER, 0), out_shardings=replicated(mesh))
    estimator = make_estimator(model, config, accumulate)
    step = make_train_step(model, _RECORDER, accumulate, estimator, noise=noise)
    program, state, batch = jax.jit(step), start(), place_batch(_batch(), mesh)
    found = []
    for _ in range(steps):
        state, _ = program(state, batch)
        found.append(state.opt_state[1])
    return found


def _assert_same(actual, expected):
    for name in set(expected) - {"blocks"}:
        _assert_close(actual[name], expected[name])
    for name in set(expected["blocks"]) - {"uboo"}:
        _assert_close(actual["blocks"][name], expected["blocks"][name])


def _assert_close(actual, expected):
    scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(expected))
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=2e-4, atol=2e-5 * scale)


def _alike(a, b):
    return np.allclose(a["embed"]["embedding"], b["embed"]["embedding"], rtol=0.1)


@pytest.fixture(scope="module")
def estimates():
    return _estimates(steps=2)


@pytest.fixture(scope="module")
def estimate(estimates):
    return estimates[0]


def test_clipping_noise_and_auxiliary_losses_do_not_touch_the_estimate(estimate):
    assert max(float(jnp.max(x)) for x in jax.tree.leaves(estimate)) > 1e-3
    noise = make_noise(NoiseConfig(alpha=50.0), 1, ByteTokenizer())
    (noisy,) = _estimates(dropout=0.5, use_uboo=True, lambda_p=3.0, noise=noise)
    _assert_same(noisy, estimate)
    assert not np.any(noisy["blocks"]["uboo"]["kernel"])


def test_micro_batches_and_devices_do_not_change_the_estimate(estimate):
    _assert_same(*_estimates(accumulate=2, devices=2), estimate)


def test_part_of_the_rows_gives_another_estimate(estimate):
    (whole,) = _estimates(fraction=1.0)
    assert not _alike(whole, estimate)


def test_each_step_draws_labels_of_its_own(estimates):
    assert not _alike(*estimates)


def test_the_plain_step_carries_nothing_of_the_estimator():
    model = MMRecLM(small_model(gate="none", memory="none"))
    optim = OptimConfig(name="sophia_g")
    optimizer = build_optimizer(optim, 10)
    state = jax.eval_shape(lambda: initial_state(model, optimizer, 0))
    batch = _batch()

    def program(estimator):
        return jax.jit(make_train_step(model, optimizer, 1, estimator)).lower(state, batch)

    plain, refresh = program(None), program(make_estimator(model, optim))
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
        lines = _metrics(Workdir(folder).root, "train")
        names = ("loss", "grad_norm", "sophia_unclipped", "sophia_update_rms", "sophia_h_norm")
        return [[line[name] for name in names] for line in lines]

    whole = numbers(tmp_path / "whole")
    assert numbers(tmp_path / "cut") == whole
    norms = [line[-1] for line in whole]
    changed = [i + 2 for i in range(7) if norms[i + 1] != norms[i]]
    assert changed == [4, 7]
