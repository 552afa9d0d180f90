"""NEFTune's noise: in the training step and nowhere else."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from mmrec_jax.train.noise import make_noise

from mmrec_jax.config import NoiseConfig, OptimConfig
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.small_run import small_model
from tests.train.step_test import _batch

_MODEL = MMRecLM(small_model(gate="none", memory="none", num_layers=1))
_STEPS = 10


def _config(**fields):
    return NoiseConfig(**fields)


def _state(optimizer):
    return initial_state(_MODEL, optimizer, seed=0)


def test_the_training_step_has_noise_that_a_schedule_takes_away():
    """At the end of a linear schedule alpha is 0, and the key of a step has no effect any more."""
    still = optax.set_to_zero()
    state = jax.jit(lambda: _state(still))()
    batch = _batch(np.random.default_rng(0))
    noise = make_noise(_config(alpha=200.0, schedule="linear"), _STEPS, ByteTokenizer())
    step = jax.jit(make_train_step(_MODEL, still, noise=noise))

    def loss(number):
        return float(step(state.replace(step=np.int32(number)), batch)[1]["loss"])

    noisy = [loss(number) for number in (0, 1, _STEPS - 1)]
    quiet = {loss(number) for number in (_STEPS, _STEPS + 1)}
    assert len(quiet) == 1
    assert len({*noisy, *quiet}) == 4
    assert abs(noisy[0] - min(quiet)) > 1e-3


def test_without_alpha_there_is_none():
    assert make_noise(_config(alpha=0.0), _STEPS, ByteTokenizer()) is None


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_estimator_does_not_see_it(accumulate):
    """The step is traced: an estimator, which reads the model too, adds no call of the noise."""
    optim = OptimConfig(name="sophia_g")
    optimizer, batch = build_optimizer(optim, _STEPS), _batch(np.random.default_rng(0))
    state = jax.eval_shape(lambda: _state(optimizer))

    def rows_with_noise(estimator):
        rows = []

        def spy(key, step, micro):
            assert key.shape == step.shape == ()

            def perturb(embedded):
                rows.append(embedded.shape[0])
                return embedded

            return perturb

        step = make_train_step(_MODEL, optimizer, accumulate, estimator, noise=spy)
        jax.eval_shape(step, state, batch)
        return rows

    alone = rows_with_noise(None)
    assert set(alone) == {8 // accumulate}
    assert rows_with_noise(make_estimator(_MODEL, optim, accumulate)) == alone


def _drawn(step, batch, **fields):
    noise = make_noise(_config(**fields), _STEPS, ByteTokenizer())

    @jax.jit
    def drawn(batch):
        perturb = noise(jax.random.key(3), jnp.asarray(step, jnp.int32), batch)
        return perturb(jnp.zeros((8, 12, 6)))

    return np.asarray(drawn(batch))


def test_schedule_and_table_scale_the_noise_of_the_function(tmp_path):
    batch = _batch(np.random.default_rng(0), vocab=258)
    plain = _drawn(4, batch, alpha=5.0)
    linear = _drawn(4, batch, alpha=5.0, schedule="linear")
    np.testing.assert_allclose(linear, 0.6 * plain, rtol=1e-6)
    table, tokenizer = tmp_path / "table.json", ByteTokenizer()
    chosen = int(batch["inputs"][0, 0])
    table.write_text(json.dumps({tokenizer.id_to_piece(chosen): 0.25}))
    scaled = _drawn(4, batch, alpha=5.0, table=str(table))
    factor = np.where(np.asarray(batch["inputs"]) == chosen, 0.25, 1.0)
    np.testing.assert_allclose(scaled, plain * factor[..., None], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file"),
        ("{", "bad JSON"),
        ("[1]", "must be a JSON object"),
        ('{"nowhere": 1}', "the tokenizer has no token 'nowhere'"),
        ('{"a": -1}', "the factor of 'a' is -1; it must be at least 0"),
        ('{"a": NaN}', "the factor of 'a' is nan; it must be at least 0"),
    ],
)
def test_a_wrong_table_is_one_clear_error(tmp_path, content, expected):
    path = tmp_path / "table.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"config.noise.table: {path}.*{expected}"):
        make_noise(_config(alpha=1.0, table=str(path)), _STEPS, ByteTokenizer())
