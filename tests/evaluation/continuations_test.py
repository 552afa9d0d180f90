import numpy as np
import pytest

from mmrec_jax.evaluation.continuations import Continuation, score_continuations, shared_beginnings
from tests.families import small, whole

_RNG = np.random.default_rng(0)


def _ids(count):
    return tuple(_RNG.integers(0, 258, count).tolist())


def _direct(family, each):
    """The sum of log p of the continuation, token by token, from one call on the whole text."""
    logits = whole(*family, each.context + each.tokens)[0].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    log_p = log_p[len(each.context) - 1 : -1]
    chosen = log_p[np.arange(len(each.tokens)), each.tokens]
    return chosen.sum(), (log_p.argmax(-1) == each.tokens).all()


@pytest.mark.parametrize("name", ["gru", "attention", "transformer"])
def test_scores_are_those_of_each_text_read_alone(name):
    family = small(name)
    shots, question = _ids(40), _ids(9)
    contexts = [(256,), (256, 5), question, *(shots + _ids(n) for n in (1, 3, 30)), shots]
    asked = [Continuation(context, _ids(n)) for context in contexts for n in (1, 20)]
    # The likeliest continuation of a context, and one that is so but for its last token.
    likely = question
    for _ in range(3):
        likely = (*likely, int(whole(*family, likely)[0][-1].argmax()))
    likely = likely[len(question) :]
    asked += [Continuation(question, x) for x in (likely, (*likely[:-1], likely[-1] ^ 1))]
    found = score_continuations(*family, asked, batch_size=4)
    for each, (logprob, greedy) in zip(asked, found, strict=True):
        expected, likeliest = _direct(family, each)
        assert logprob == pytest.approx(expected, rel=1e-5, abs=1e-4)
        assert greedy == likeliest
    assert [greedy for _, greedy in found[-2:]] == [True, False]


def test_what_texts_begin_with_is_found():
    shots = tuple(range(40))
    texts = {"a": (*shots, 1, 2), "b": (*shots, 1, 3), "c": shots[:20], "d": (9, *shots)}
    groups = dict(shared_beginnings(texts))
    assert groups == {(): ["c", "d"], (*shots, 1): ["a", "b"]}
