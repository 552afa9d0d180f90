import numpy as np

from mmrec_jax.evaluation.tally import Tally


def _batch(rng):
    real = np.arange(6) < rng.integers(0, 7, (4, 1))
    weights = rng.choice([0.0, 0.5, 2.0], (4, 6)) * real
    return {"segment_ids": real.astype(np.int32), "weights": weights.astype(np.float32)}


def test_sums_are_those_of_the_definition(rng):
    tally, nats, weight, tokens, answers, right = Tally(), 0.0, 0.0, 0, 0, 0
    for _ in range(3):
        batch = _batch(rng)
        said = {"nats": rng.random((4, 6)).astype(np.float32), "right": rng.random((4, 6)) < 0.5}
        tally.add(batch, said)
        for place in np.ndindex(4, 6):
            share = float(batch["weights"][place])
            tokens += batch["segment_ids"][place] > 0
            weight += share
            nats += share * float(said["nats"][place])
            answers += share > 0
            right += share > 0 and said["right"][place]
    assert (tally.tokens, tally.answers, tally.right) == (tokens, answers, right)
    assert 0 < right < answers < tokens
    np.testing.assert_allclose([tally.weight, tally.nats], [weight, nats], rtol=1e-12)
    np.testing.assert_allclose(tally.loss, nats / weight, rtol=1e-12)


def test_what_has_no_weight_is_not_looked_at(rng):
    batch = _batch(rng)
    nats = np.where(batch["weights"] > 0, 1.0, np.nan)
    tally = Tally()
    tally.add(batch, {"nats": nats, "right": np.ones((4, 6), bool)})
    assert tally.loss == 1.0


def test_including_is_adding_up():
    tally = Tally(tokens=1, weight=2.0, nats=3.0, answers=4, right=5)
    tally.include(Tally(tokens=10, weight=20.0, nats=30.0, answers=40, right=50))
    assert tally == Tally(tokens=11, weight=22.0, nats=33.0, answers=44, right=55)
