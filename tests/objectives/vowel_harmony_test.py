import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models import logits as logits_module
from mmrec_jax.objectives.api import LOSS
from mmrec_jax.objectives.vowel_harmony import (
    VowelHarmony,
    VowelHarmonyConfig,
    broken_share,
    last_vowel_classes,
)
from mmrec_jax.turkish.vowel_table import VowelTable, broken_classes
from tests.small_step import logits_output

# Ids: 0 space, 1 consonant, 2 "ev", 3 "ol" (both begin no word: they continue), 4 " ev", 5 "lar",
# 6 "ler", 7 "ların", 8 "in", 9 "o".
_TABLE = VowelTable(
    continues=np.array([0, 1, 1, 1, 0, 1, 1, 1, 1, 1], bool),
    first=np.array([0, 0, 2, 0, 0, 1, 2, 1, 4, 0], np.int32),
    sets=np.array([1, 0, 1, 1, 1, 1, 1, 1, 1, 1], bool),
    last=np.array([0, 0, 2, 7, 2, 1, 2, 3, 4, 7], np.int32),
)
_V = 12  # two ids of padding


def _classes_by_hand(inputs, segment_ids):
    """Row by row, token by token."""
    classes = np.zeros(inputs.shape, int)
    for b, row in enumerate(inputs):
        state, segment = 0, None
        for t, token in enumerate(row):
            if segment_ids[b, t] != segment:
                state, segment = 0, segment_ids[b, t]
            if _TABLE.sets[token]:
                state = _TABLE.last[token]
            classes[b, t] = state
    return classes


def _by_hand(logits, batch):
    """Value, gradient and mass in float64: the quotient of two sums of probabilities."""
    broken = broken_classes()
    classes = _classes_by_hand(batch["inputs"], batch["segment_ids"])
    value, mass, count = 0.0, 0.0, 0
    gradient = np.zeros(logits.shape)
    for b, t in np.ndindex(classes.shape):
        target = batch["targets"][b, t]
        c = classes[b, t]
        if not c or batch["weights"][b, t] <= 0 or broken[c, _TABLE.first[target]]:
            continue
        count += 1
        p = np.exp(logits[b, t] - logits[b, t].max())
        p /= p.sum()
        first = np.concatenate([_TABLE.first, [0, 0]])
        judged, bad = first > 0, broken[c, first]
        total, wrong = p[judged].sum(), p[bad].sum()
        value += wrong / total
        mass += p[: len(_TABLE.continues)][_TABLE.continues].sum()
        gradient[b, t] = p * (bad - judged * wrong / total) / total
    return value, gradient, mass, count


def _batch(rng, rows=4, length=24):
    shape = (rows, length)
    segments = np.sort(rng.integers(1, 4, shape), axis=1)
    segments[:, -3:] = 0
    return {
        "inputs": rng.integers(0, 10, shape),
        "targets": rng.integers(0, 10, shape),
        "segment_ids": segments,
        "weights": rng.choice([0.0, 1.0, 3.0], shape, p=[0.2, 0.6, 0.2]) * (segments > 0),
    }


def _positions(logits, batch):
    objective = VowelHarmony(VowelHarmonyConfig(), _TABLE, _V)
    return objective.positions(logits_output(logits), batch)


def _on_device(batch):
    kinds = {"weights": jnp.float32}
    return {name: jnp.asarray(x, kinds.get(name, jnp.int32)) for name, x in batch.items()}


@pytest.mark.parametrize(("scale", "chunk"), [(1.0, 24), (30.0, 24), (1.0, 6)])
def test_value_gradient_and_mass_are_those_of_the_definition(rng, scale, chunk, monkeypatch):
    """Of whole logits, and of chunks of 6 tokens."""
    monkeypatch.setitem(logits_module._BYTES, "cpu", 4 * chunk * _V * 4)
    batch = _batch(rng)
    logits = rng.normal(size=(4, 24, _V)) * scale

    def total(logits):
        objective = VowelHarmony(VowelHarmonyConfig(), _TABLE, _V)
        output, rows = logits_output(logits), _on_device(batch)
        sums = objective.sums({}, output, rows, None, None)
        return sum(sums.values()), (sums, objective.positions(output, rows))

    (_, (sums, found)), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(
        jnp.asarray(logits, jnp.float32)
    )
    value, expected, mass, count = _by_hand(logits, batch)
    of_sums = {"vowel_harmony": LOSS, "word_continuing": "word_continuing"}
    for name, expected_sum in (("vowel_harmony", value), ("word_continuing", mass)):
        values, counted = found[name]
        assert int(jnp.sum(counted)) == count > 20
        np.testing.assert_allclose(jnp.sum(values), expected_sum, rtol=1e-5)
        np.testing.assert_allclose(sums[of_sums[name]], expected_sum, rtol=1e-5)
    # The mass has no gradient: what comes back is that of the objective alone.
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


def test_ending_words_early_changes_nothing(rng):
    """The objective is conditional on going on: the space's logit has no gradient."""
    batch = _on_device(_batch(rng))
    logits = jnp.asarray(rng.normal(size=(4, 24, _V)), jnp.float32)
    other = logits + 50.0 * (np.arange(_V) == 0).astype(np.float32)[None, None]
    before, after = (
        {name: values for name, (values, _) in jax.jit(_positions)(x, batch).items()}
        for x in (logits, other)
    )
    np.testing.assert_allclose(after["vowel_harmony"], before["vowel_harmony"], rtol=1e-6)
    assert float(jnp.sum(after["word_continuing"])) < 1e-6 < float(before["word_continuing"].sum())


def test_classes_in_parallel_are_those_of_a_loop(rng):
    inputs = rng.integers(0, 10, (8, 50))
    segments = np.sort(rng.integers(0, 5, (8, 50)), axis=1)
    found = jax.jit(last_vowel_classes)(
        _TABLE.sets[inputs], _TABLE.last[inputs], segments.astype(np.int32)
    )
    np.testing.assert_array_equal(found, _classes_by_hand(inputs, segments))


def test_no_judged_token_at_all_is_no_division_by_zero():
    def total(logits):
        nothing = jnp.zeros(3, jnp.int32)
        share = broken_share(logits, jnp.array([[1, 2]]), nothing, jnp.asarray(broken_classes()))
        return jnp.sum(share)

    share, gradient = jax.jit(jax.value_and_grad(total))(np.zeros((1, 2, 3), np.float32))
    assert float(share) == 0
    assert not np.asarray(gradient).any()
