import numpy as np
import pytest

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.evaluation.needle import DEPTHS, SHORTEST, draw_needle, score_needle
from tests.evaluation.copier import VOCABULARY, Copier, Uniform

_IDS = np.arange(20, 40, dtype=np.int32)
_FILLER = np.random.default_rng(0).integers(2, 20, 700).astype(np.int32)


def _score(model, lengths, **options):
    options = {"begin_id": 1, "samples": 3, **options}
    return score_needle(model, None, _FILLER, _IDS, lengths, **options)


def test_a_text_is_the_same_but_for_the_needle():
    rng = np.random.default_rng(1)
    texts, keys, candidates = draw_needle(rng, _FILLER, _IDS, 60, 1)
    assert texts.shape == (12, 60)
    assert keys.shape == (12, 4)
    assert candidates.shape == (12, 101, 4)
    needle = [*keys[0], *candidates[0, 0]]
    without = texts[0].tolist()
    assert without[0] == 1
    assert not set(without) & set(_IDS.tolist())
    for depth, text in zip(DEPTHS, texts[1:].tolist(), strict=True):
        at = 1 + round(depth / 100 * 51)
        assert text[at : at + 8] == needle
        assert text[:at] + text[at + 8 :] == without[:-8]
    assert (keys == keys[0]).all()
    assert (candidates == candidates[0]).all()
    assert len({tuple(row) for row in candidates[0].tolist()}) == 101
    assert set(candidates.ravel().tolist()) <= set(_IDS.tolist())


def _copier_by_hand(text, key, candidates):
    """-log p per token of each candidate after text and key, by a copier that is a dict."""
    follows, last = {}, 0
    for token in [*text, *key]:
        follows[last], last = token, token
    certain = np.log(np.exp(9) + VOCABULARY - 1)
    nll = []
    for candidate in candidates:
        known, previous, total = dict(follows), last, 0.0
        for token in candidate:
            total += certain - 9 * (known.get(previous, 0) == token)
            known[previous], previous = token, token
        nll.append(total / 4)
    return nll


def test_every_number_is_that_of_texts_read_one_by_one():
    lengths, samples = (SHORTEST, 300), 3  # 300 tokens are read in two chunks
    scores = _score(Copier(), lengths, samples=samples, seed=2)
    for score, length in zip(scores, lengths, strict=True):
        assert (score.length, score.samples, score.depths) == (length, samples, DEPTHS)
        nll = []
        for sample in range(samples):
            rng = np.random.default_rng(hashed_seed("needle", 2, length, sample))
            drawn = (part.tolist() for part in draw_needle(rng, _FILLER, _IDS, length, 1))
            nll.append([_copier_by_hand(*version) for version in zip(*drawn, strict=True)])
        for depth in range(11):
            # Sums of the same numbers in another order may tie here and not there.
            leads = [min(each[1 + depth][1:]) - each[1 + depth][0] for each in nll]
            sure, possible = (sum(x > bound for x in leads) / samples for bound in (1e-5, -1e-5))
            assert sure - 1e-9 <= score.accuracy[depth] <= possible + 1e-9
            saved = [each[0][0] - each[1 + depth][0] for each in nll]
            assert score.profit[depth] == pytest.approx(np.mean(saved), abs=1e-5)
            error = np.std(saved, ddof=1) / np.sqrt(samples)
            assert score.error[depth] == pytest.approx(error, abs=1e-5)
        assert min(score.accuracy) > 1 / 3 > 0.02 > score.accuracy_without
        assert min(score.profit) > 4


def test_a_model_that_knows_nothing_is_at_chance():
    (score,) = _score(Uniform(), (50,), samples=1)
    np.testing.assert_allclose(score.accuracy, 1 / 101)
    assert score.accuracy_without == pytest.approx(1 / 101)
    np.testing.assert_array_equal(score.profit, 0)
    assert score.error == (None,) * 11
