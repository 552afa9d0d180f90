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
# Remembers the gradient and the estimate of the curvature, and moves nothing.
_RECORDER = optax.GradientTransformationExtraArgs(
    init=lambda params: (params, params),
    update=lambda g, _, params=None, *, hessian=None: (
        jax.tree.map(jnp.zeros_like, g),
        (g, g if hessian is None else hessian),
    ),
)


def _config(**fields):
    return TrainConfig(steps=_STEPS, **{f"neftune_{name}": value for name, value in fields.items()})


@pytest.fixture(scope="module")
def programs():
    """Steps without and with noise: `number of updates done -> loss, gradient, curvature`."""
    state = jax.jit(lambda: initial_state(_MODEL, _RECORDER, seed=0))()
    batch = _batch(np.random.default_rng(0))
    estimator = make_estimator(_MODEL, OptimConfig(name="sophia_g"))

    def program(**fields):
        noise = make_noise(_config(**fields), _STEPS, ByteTokenizer())
        step = jax.jit(make_train_step(_MODEL, _RECORDER, 1, estimator, noise=noise))

        def run(number):
            after, metrics = step(state.replace(step=np.int32(number)), batch)
            return float(metrics["loss"]), *map(jax.tree.leaves, after.opt_state)

        return run

    return program(alpha=0.0), program(alpha=200.0, schedule="linear")


def test_the_training_step_has_noise_that_a_schedule_takes_away(programs):
    """At the end of a linear schedule alpha is 0: bit for bit the program without noise."""
    plain, noisy = programs
    quiet, gradient, _ = plain(_STEPS)
    assert abs(noisy(0)[0] - quiet) > 0.003
    assert noisy(_STEPS - 1)[0] != quiet
    end, other, _ = noisy(_STEPS)
    assert end == quiet
    for actual, expected in zip(other, gradient, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_the_estimator_does_not_see_it(programs):
    (_, gradient, curvature), (_, other, same) = (program(0) for program in programs)
    assert any(np.any(a != b) for a, b in zip(other, gradient, strict=True))
    for actual, expected in zip(same, curvature, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-12)


def test_without_alpha_there_is_none():
    assert make_noise(_config(alpha=0.0), _STEPS, ByteTokenizer()) is None


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
