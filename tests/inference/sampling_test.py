import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.inference.sampling import RowSampling, Sampling, draw, filtered_logits

_PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
_SETTINGS = [
    {},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_k": 1},
    {"top_k": 100},
    {"top_p": 0.6},
    {"top_p": 1e-6},
    {"repetition_penalty": 1.7},
    {"temperature": 0.7, "top_k": 6, "top_p": 0.8, "repetition_penalty": 1.3},
]


def _probabilities(logits, seen, temperature, top_k, top_p, repetition_penalty):
    """One row, float64, by sorting."""
    logits = np.array(logits, np.float64)
    for token in np.flatnonzero(seen):
        positive = logits[token] > 0
        logits[token] *= 1 / repetition_penalty if positive else repetition_penalty
    logits /= temperature
    order = np.argsort(-logits)
    if top_k:
        order = order[:top_k]
    p = np.exp(logits[order] - logits.max())
    p /= p.sum()
    kept, mass = [], 0.0
    for token, share in zip(order, p, strict=True):
        kept.append((token, share))
        mass += share
        if mass >= top_p:
            break
    result = np.zeros(len(logits))
    for token, share in kept:
        result[token] = share / mass
    return result


_filtered = jax.jit(filtered_logits)


@jax.jit
def _drawn(key, logits, seen, rows):
    return draw(jax.random.split(key, len(logits)), logits, seen, rows)


def _draw(seed, logits, seen, sampling):
    return _drawn(jax.random.key(seed), logits, seen, sampling.rows(len(logits)))


@pytest.fixture
def rows(rng):
    return rng.normal(size=(4, 11)) * 2, rng.random((4, 11)) < 0.4


@pytest.mark.parametrize("setting", _SETTINGS, ids=str)
def test_the_distribution_is_that_of_the_definition(rows, setting):
    logits, seen = rows
    setting = {**_PLAIN, **setting}
    filtered = np.asarray(_filtered(np.float32(logits), seen, Sampling(**setting).rows(4)))
    actual = np.exp(filtered - filtered.max(axis=-1, keepdims=True))
    actual /= actual.sum(axis=-1, keepdims=True)
    expected = [_probabilities(x, s, **setting) for x, s in zip(logits, seen, strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(actual > 0, np.asarray(expected) > 0)


def test_tokens_are_drawn_as_often_as_they_are_probable(rows):
    logits, seen = (x[:1] for x in rows)
    setting = {**_PLAIN, "temperature": 0.9, "top_p": 0.9, "repetition_penalty": 1.2}
    count = 20_000
    many = [np.repeat(x, count, axis=0) for x in (np.float32(logits), seen)]
    tokens = _draw(0, *many, Sampling(**setting))
    frequency = np.bincount(tokens, minlength=11) / count
    expected = _probabilities(logits[0], seen[0], **setting)
    spread = np.sqrt(expected * (1 - expected) / count)
    assert np.all(np.abs(frequency - expected) <= 4 * spread)
    assert frequency[expected == 0].sum() == 0


def test_no_temperature_takes_the_most_likely_token_after_the_penalty():
    logits = jnp.array([[1.0, 1.9, 2.0], [-1.0, -1.1, -3.0]])
    seen = jnp.array([[False, False, True], [True, False, False]])
    for penalty, expected in ((1.0, [2, 0]), (1.5, [1, 1])):
        greedy = Sampling(temperature=0.0, top_p=1.0, repetition_penalty=penalty)
        assert _draw(0, logits, seen, greedy).tolist() == expected


@pytest.mark.parametrize("temperature", [1e-30, 1e-37, 1e-38, 1e-300])
def test_the_limit_of_small_temperatures_is_zero(temperature):
    logits = jnp.array([[10.0, 30.0, 29.99], [-3e4, -2e4, -1e4], [-200.0, -300.0, -201.0]])
    seen = jnp.zeros((3, 3), bool)
    for others in ({}, {"top_k": 3}, {"top_p": 0.9}):
        setting = Sampling(**{**_PLAIN, **others, "temperature": temperature})
        for seed in range(3):
            assert _draw(seed, logits, seen, setting).tolist() == [1, 2, 0]


def test_the_limit_of_large_temperatures_is_uniform():
    logits = np.tile(np.float32([[0.0, 5.0, 50.0, 500.0]]), (4000, 1))
    setting = Sampling(**{**_PLAIN, "temperature": 1e38})
    tokens = _draw(0, logits, np.zeros(logits.shape, bool), setting)
    assert np.bincount(tokens, minlength=4).min() > 900


def test_what_float32_does_not_hold_is_the_largest_number_that_it_does():
    rows = Sampling(1e308, 10**30, 1.0, 1e308).rows(2)
    assert all(np.isfinite(x).all() and (x > 0).all() for x in rows)


def test_rows_are_drawn_independently_and_keys_matter():
    uniform = np.zeros((64, 50), np.float32), np.zeros((64, 50), bool), Sampling()
    first, same, other = (_draw(seed, *uniform).tolist() for seed in (0, 0, 1))
    assert first == same != other
    assert len(set(first)) > 20


def test_each_row_is_drawn_by_its_own_settings(rows):
    """Settings of other rows change nothing: not even whether what is drawn needs sorting."""
    logits, seen = np.float32(rows[0]), rows[1]
    settings = [Sampling(**{**_PLAIN, **x}) for x in ({}, {"top_k": 2}, {"temperature": 0.0}, {})]
    together = RowSampling(*map(np.concatenate, zip(*(s.rows(1) for s in settings), strict=True)))

    @jax.jit
    def alone(key, row, setting):
        keys = jax.random.split(key, len(logits))
        inputs = (jax.lax.dynamic_slice_in_dim(x, row, 1) for x in (keys, logits, seen))
        return draw(*inputs, setting)

    for seed in range(8):
        mixed = _drawn(jax.random.key(seed), logits, seen, together)
        for i, setting in enumerate(settings):
            assert alone(jax.random.key(seed), i, setting.rows(1))[0] == mixed[i]


def test_a_value_out_of_range_is_refused_by_name():
    wrong = {
        "temperature": (-0.1, float("nan"), float("inf")),
        "top_k": (-1,),
        "top_p": (0.0, 1.1),
        "repetition_penalty": (0.0, float("inf")),
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(UserError, match=f"{name} is {value}"):
                Sampling(**{name: value})
