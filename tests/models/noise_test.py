"""NEFTune's noise, and a model that has it in training."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.models.api import Training
from mmrec_jax.models.noise import neftune, read_noise_table, with_embedding_noise
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train.step import make_train_step
from tests.models.gru import GRUConfig
from tests.small_step import VOCABULARY, batch, build, start

# Two documents in a row and padding; one that fills its row; nothing but padding.
_SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 2, 0], [7] * 10, [0] * 10], np.int32)
_SIZES = np.array([[3, 3, 3, 6, 6, 6, 6, 6, 6, 0], [10] * 10, [0] * 10])
_SHAPE, _ALPHA = (3, 10, 2048), 5.0
_ONES = np.ones(_SHAPE[:2], np.float32)
_call = jax.jit(neftune)


def _noisy(x, alpha=_ALPHA, scale=_ONES, key=0):
    return np.asarray(_call(jax.random.key(key), x, _SEGMENTS, alpha, scale))


def _noise(**options):
    return _noisy(np.zeros(_SHAPE, np.float32), **options)


def test_bounds_and_variance_are_those_of_each_document_and_padding_has_none():
    noise = _noise()
    for row, column in np.argwhere(_SIZES):
        bound = _ALPHA / np.sqrt(_SIZES[row, column] * _SHAPE[2])
        drawn = noise[row, column]
        assert 0.99 * bound < np.max(np.abs(drawn)) <= bound
        np.testing.assert_allclose(np.var(drawn), bound**2 / 3, rtol=0.1)
        assert abs(np.mean(drawn)) < 0.05 * bound
    assert np.mean(noise[0, 0] == noise[0, 1]) < 0.01
    assert not noise[_SIZES == 0].any()


def test_alpha_zero_leaves_every_bit():
    x = np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)
    x[:, ::2, ::3] = -0.0
    np.testing.assert_array_equal(_noisy(x, alpha=0.0).view(np.uint32), x.view(np.uint32))


def test_the_scale_is_a_factor_of_each_token_and_the_key_decides():
    scale = np.random.default_rng(0).choice([0.0, 0.5, 2.0], _SHAPE[:2]).astype(np.float32)
    np.testing.assert_allclose(_noise(scale=scale), _noise() * scale[..., None], rtol=1e-6)
    np.testing.assert_array_equal(_noise(key=1), _noise(key=1))
    assert np.mean((_noise(key=1) == _noise(key=2))[_SIZES > 0]) < 0.01


def test_without_segments_a_row_is_a_document_and_the_dtype_stays():
    whole = _call(jax.random.key(0), jnp.zeros(_SHAPE, jnp.bfloat16), None, _ALPHA)
    assert whole.dtype == jnp.bfloat16
    bound = _ALPHA / np.sqrt(10 * _SHAPE[2])
    np.testing.assert_allclose(np.max(np.abs(np.float32(whole)), axis=-1), bound, rtol=0.01)


_GRU = GRUConfig(VOCABULARY, 8).build()
_STEPS = 10


def _embedded(step, table=None, **options):
    """What a noisy model makes of embedded tokens of zeros, at a step; None: outside training."""
    seen = []

    class Spy(type(_GRU)):
        def apply(self, *inputs, perturb=None, **options):
            seen.append(perturb and perturb(jnp.zeros((8, 12, 6))))

    model = with_embedding_noise(Spy(_GRU.config), 5.0, table=table, **options)
    training = None if step is None else Training(jax.random.key(3), jnp.int32(step))
    rows = batch()
    model.apply({}, rows["inputs"], None, jnp.asarray(rows["segment_ids"]), training=training)
    return seen[0]


def test_there_is_noise_in_training_alone():
    assert _embedded(None) is None
    assert np.any(_embedded(0))


def test_a_schedule_and_a_table_are_factors():
    plain = _embedded(4)
    np.testing.assert_allclose(_embedded(4, steps=_STEPS), 0.6 * plain, rtol=1e-6)
    inputs = batch()["inputs"]
    chosen = int(inputs[0, 0])
    table = np.where(np.arange(VOCABULARY) == chosen, 0.25, 1).astype(np.float32)
    factor = np.where(inputs == chosen, 0.25, 1.0)
    np.testing.assert_allclose(_embedded(4, table), plain * factor[..., None], rtol=1e-6)


def test_a_training_step_has_noise_that_a_schedule_takes_away():
    """At its end alpha is 0, and the key of a step has no effect any more."""
    still, model = optax.set_to_zero(), with_embedding_noise(_GRU, 200.0, steps=_STEPS)
    state = jax.jit(lambda: start(model, build(model), still))()
    step = jax.jit(make_train_step(still, build(model)))

    def loss(number):
        return float(step(model, state.replace(step=np.int32(number)), batch())[1]["loss"])

    noisy = [loss(number) for number in (0, 1, _STEPS - 1)]
    quiet = {loss(number) for number in (_STEPS, _STEPS + 1)}
    assert len(quiet) == 1
    assert len({*noisy, *quiet}) == 4
    assert abs(noisy[0] - min(quiet)) > 1e-3


_IDS = {ByteTokenizer().id_to_piece(i): i for i in range(ByteTokenizer().vocab_size)}


def test_a_table_has_ones_for_tokens_that_it_does_not_name(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"a": 0.25}))
    table = read_noise_table(str(path), _IDS)
    np.testing.assert_array_equal(table, np.where(np.arange(258) == _IDS["a"], 0.25, 1))


@pytest.mark.parametrize(
    ("content", "named"),
    [("[1]", ""), ('{"nowhere": 1}', "nowhere"), ('{"a": -1}', "'a'.*-1"), ('{"a": NaN}', "nan")],
)
def test_a_wrong_table_is_one_clear_error(tmp_path, content, named):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"config\.noise\.table: {path}.*{named}"):
        read_noise_table(str(path), _IDS)
