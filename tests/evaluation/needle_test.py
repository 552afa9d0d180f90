import numpy as np
import pytest

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.evaluation.needle import LEAD, draw_texts, score_needle
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.evaluation.copier import Copier, Uniform

_BYTES = ByteTokenizer()
_FILLER = _BYTES.encode("the lake and the sea, " * 30)


def _score(model, distances, **options):
    options = {"samples": 3, "rows": 4, **options}
    return score_needle(model(_BYTES.vocab_size), None, _FILLER, _BYTES, distances, **options)


def test_the_texts_differ_in_their_first_needle_alone():
    texts, size = draw_texts(np.random.default_rng(1), _FILLER, _BYTES, 200)
    needle = texts[0][-size:]
    name, number = _BYTES.decode(needle).strip(" .").split()
    assert name.istitle()
    assert 10_000 <= int(number) < 100_000
    at = 1 + LEAD
    assert [len(text) for text in texts] == [at + 200 + size] * 2
    for text in texts:
        np.testing.assert_array_equal(text[-size:], needle)
        assert text[0] == _BYTES.bos_id
        inside = _BYTES.decode(np.concatenate([text[1:at], text[at + size + 2 : -size]]))
        assert inside[:40] in "the lake and the sea, " * 4
        assert not set(inside) & set("0123456789")
    np.testing.assert_array_equal(texts[0][at : at + size], needle)
    assert name not in _BYTES.decode(texts[1][: at + 200])
    assert str(number) not in _BYTES.decode(texts[1][: at + 200])


def _copier_by_hand(text, size):
    """Nats of the last tokens, by a copier that is a dict."""
    follows, last, total = {}, 0, 0.0
    certain = np.log(np.exp(9) + _BYTES.vocab_size - 1)
    for at, token in enumerate(text):
        if at >= len(text) - size:
            total += certain - 9 * (follows.get(last, 0) == token)
        follows[last], last = token, token
    return total


def test_every_number_is_that_of_texts_read_one_by_one():
    for score, distance in zip(_score(Copier, (64, 300), seed=2), (64, 300), strict=True):
        nats = []
        for sample in range(3):
            rng = np.random.default_rng(hashed_seed("needle", 2, distance, sample))
            texts, size = draw_texts(rng, _FILLER, _BYTES, distance)
            nats.append([_copier_by_hand(text.tolist(), size) for text in texts])
        own, other = np.transpose(nats)
        assert (score.distance, score.samples) == (distance, 3)
        assert score.nats == pytest.approx(own.mean(), abs=1e-4)
        assert score.chance == pytest.approx(other.mean(), abs=1e-4)
        assert score.gain == pytest.approx((other - own).mean(), abs=1e-4)
        assert score.error == pytest.approx(np.std(other - own, ddof=1) / 3**0.5, abs=1e-4)
        assert score.gain > 4


def test_a_model_that_knows_nothing_gains_nothing():
    (score,) = _score(Uniform, (64,), samples=1)
    assert (score.gain, score.error) == (0, None)
