"""NEFTune's noise: in the training step and nowhere else."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.config import TrainConfig
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.nn.model import MMRecLM
from mmrec_jax.nn.neftune import neftune
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.noise import make_noise
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.small_run import small_model
from tests.train.step_test import _batch

_MODEL = MMRecLM(small_model(gate="none", memory="none", vocab_size=258))
_STEPS = 10
# Remembers the estimate of the curvature and moves nothing.
_RECORDER = optax.GradientTransformationExtraArgs(
    init=lambda params: jax.tree.map(jnp.zeros_like, params),
    update=lambda g, _, params=None, *, hessian=None: (jax.tree.map(jnp.zeros_like, g), hessian or g),
)


def _config(**fields):
    return TrainConfig(steps=_STEPS, **{f"neftune_{name}": value for name, value in fields.items()})


@pytest.fixture(scope="module")
def run():
    """One step's loss and what the optimizer was given."""
    state = jax.jit(lambda: initial_state(_MODEL, _RECORDER, seed=0))()
    batch = _batch(np.random.default_rng(0))

    def run_(step=0, estimator=None, **fields):
        noise = make_noise(_config(**fields), _STEPS, ByteTokenizer())
        program = jax.jit(make_train_step(_MODEL, _RECORDER, 1, estimator, noise=noise))
        after, metrics = program(state.replace(step=jnp.asarray(step, jnp.int32)), batch)
        return float(metrics["loss"]), after.opt_state

    return run_


def test_the_training_step_has_noise_and_a_large_one_is_felt(run):
    quiet, small, large = (run(alpha=alpha)[0] for alpha in (0.0, 0.01, 200.0))
    assert abs(small - quiet) < 0.01
    assert small != quiet
    assert abs(large - quiet) > 0.1


def test_alpha_zero_is_the_step_without_it(run):
    assert make_noise(_config(alpha=0.0), _STEPS, ByteTokenizer()) is None
    # And so is the end of a linear schedule, where the program has noise in it.
    plain, over = run(step=_STEPS), run(step=_STEPS, alpha=50.0, schedule="linear")
    assert plain[0] == over[0]
    for actual, expected in zip(*map(jax.tree.leaves, (over[1], plain[1])), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_the_estimator_does_not_see_it(run):
    estimator = make_estimator(_MODEL, OptimConfig(name="sophia_g"))
    quiet, noisy = (run(alpha=alpha, estimator=estimator)[1] for alpha in (0.0, 200.0))
    for actual, expected in zip(*map(jax.tree.leaves, (noisy, quiet)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-12)


def _drawn(step, batch, tmp_path, **fields):
    noise = make_noise(_config(**fields), _STEPS, ByteTokenizer())
    perturb = noise(jax.random.key(3), jnp.asarray(step), batch)
    return np.asarray(perturb(jnp.zeros((*batch["inputs"].shape, 6))))


def test_schedule_and_table_scale_the_noise_of_the_function(tmp_path):
    batch = _batch(np.random.default_rng(0), vocab=258)
    plain = neftune(jax.random.key(3), jnp.zeros((8, 12, 6)), batch["segment_ids"], 5.0)
    np.testing.assert_array_equal(_drawn(4, batch, tmp_path, alpha=5.0), plain)
    linear = _drawn(4, batch, tmp_path, alpha=5.0, schedule="linear")
    np.testing.assert_allclose(linear, 0.6 * np.asarray(plain), rtol=1e-6)
    table, tokenizer = tmp_path / "table.json", ByteTokenizer()
    chosen = int(batch["inputs"][0, 0])
    table.write_text(json.dumps({tokenizer.id_to_piece(chosen): 0.25}))
    scaled = _drawn(4, batch, tmp_path, alpha=5.0, table=str(table))
    factor = np.where(np.asarray(batch["inputs"]) == chosen, 0.25, 1.0)
    np.testing.assert_allclose(scaled, np.asarray(plain) * factor[..., None], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file"),
        ("{", "bad JSON"),
        ("[1]", "must be an object of tokens and their factors"),
        ('{"nowhere": 1}', "the tokenizer has no token 'nowhere'"),
        ('{"a": -1}', "the factor of 'a' is -1; it must be at least 0"),
    ],
)
def test_a_wrong_table_is_one_clear_error(tmp_path, content, expected):
    path = tmp_path / "table.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"neftune_table: {path}.*{expected}"):
        make_noise(_config(alpha=1.0, table=str(path)), _STEPS, ByteTokenizer())
