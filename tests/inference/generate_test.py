import jax
import numpy as np
import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.inference import decode
from mmrec_jax.inference import generate as generation
from mmrec_jax.inference import prefill as reading
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.families import FAMILIES, small, whole

_PROMPT = np.array([256, *"göl".encode()], np.int32)
_GREEDY = Sampling(temperature=0.0)
_RANDOM = Sampling(temperature=4.0, top_p=1.0)


@pytest.fixture(params=FAMILIES)
def family(request):
    """A model and its parameters."""
    return small(request.param)


def _stream(family, prompt=_PROMPT, **options):
    return generation.stream(*family, prefill(*family, prompt), **options)


def _generate(family, prompt="göl", **options):
    options = {"max_tokens": 24, **options}
    return generation.generate(*family, ByteTokenizer(), prompt, **options)


def test_greedy_text_is_the_argmax_of_whole_forward_passes(family):
    """So long that a model without a state needs more room for the text than at first."""
    drawn = [int(tokens[0]) for tokens, _ in _stream(family, max_tokens=70, sampling=_GREEDY)]
    ids = [*_PROMPT.tolist(), *drawn]
    expected = np.argmax(whole(*family, ids)[0], axis=-1)
    assert drawn == expected[len(_PROMPT) - 1 : -1].tolist()
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("name", ["gru", "attention"])
def test_one_compiled_step_draws_all_tokens(name):
    """Parameters from a file are bound to a device, and what is computed from them is."""
    model, params = small(name)
    params = jax.device_put(params, jax.devices()[1])
    read, drawn = reading._forward._cache_size(), decode._step._cache_size()
    text = prefill(model, params, np.arange(20), prefill(model, params, np.arange(20)))
    list(generation.stream(model, params, text, max_tokens=3, samples=5))
    assert reading._forward._cache_size() == read + 1
    assert decode._step._cache_size() == drawn + 1


def _drawn(family, seed):
    options = {"samples": 3, "sampling": _RANDOM, "seed": seed}
    rows = np.stack([tokens for tokens, _ in _stream(family, max_tokens=24, **options)], 1)
    return [tuple(row) for row in rows.tolist()]


def test_samples_differ_and_the_same_seed_gives_the_same_tokens(family):
    first = _drawn(family, seed=5)
    assert len(set(first)) == 3
    assert first == _drawn(family, seed=5)
    assert not set(first) & set(_drawn(family, seed=6))


def test_a_row_that_drew_an_end_stays_as_it_was(family):
    free = _drawn(family, seed=5)
    ends = (300, free[0][3])
    stays = [next((i for i, token in enumerate(row) if token in ends), 24) for row in free]
    assert len(set(stays)) > 1
    options = {"samples": 3, "sampling": _RANDOM, "seed": 5, "ends": ends}
    drawn = []
    for tokens, rows in _stream(family, max_tokens=24, **options):
        drawn.append(tokens)
        last = np.asarray(rows.seen)
    for row, (tokens, stay) in enumerate(zip(np.stack(drawn, 1).tolist(), stays, strict=True)):
        end = [free[row][stay]] if stay < 24 else []
        assert tokens == [*free[row][:stay], *end, *[300] * (24 - stay - len(end))]
        assert set(last[row].nonzero()[0].tolist()) == {*_PROMPT.tolist(), *free[row][:stay]}


def test_tokens_read_and_drawn_are_penalised():
    gru = small("gru")
    likeliest = int(np.argmax(whole(*gru, _PROMPT)[0][-1]))
    prompt = np.array([likeliest, *_PROMPT])
    expected = whole(*gru, prompt)[0][-1].copy()
    for token in set(prompt.tolist()):
        expected[token] *= 1e-4 if expected[token] > 0 else 1e4
    harsh = Sampling(temperature=0.0, repetition_penalty=1e4)
    drawn = [int(tokens[0]) for tokens, _ in _stream(gru, prompt, max_tokens=20, sampling=harsh)]
    assert drawn[0] == np.argmax(expected)
    assert len({*drawn, *prompt.tolist()}) == 20 + len(set(prompt.tolist()))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_would_be_another_one_is_refused(seed):
    with pytest.raises(UserError, match="seed"):
        _generate(small("gru"), seed=seed)


def test_text_as_it_comes_joins_to_the_text_returned():
    """An untrained model writes bytes that are no characters: the hardest case."""
    for seed in range(3):
        parts = []
        options = {"samples": 2, "seed": seed, "sampling": _RANDOM}
        texts = _generate(small("gru"), on_text=parts.append, **options)
        assert "".join(parts) == texts[0]
        assert any(parts)
        assert _generate(small("gru"), _PROMPT, **options) == texts  # ids are read as they are


def _scripted(monkeypatch, rows):
    """Lets the model draw these tokens, one list per sample; returns how many were asked for."""
    asked = []

    def stream(*arguments, max_tokens, **options):
        for tokens in list(zip(*rows, strict=True))[:max_tokens]:
            asked.append(tokens)
            yield np.array(tokens, np.int32), None

    monkeypatch.setattr(generation, "stream", stream)
    return asked


@pytest.mark.parametrize(
    ("rows", "options", "texts", "steps"),
    [
        ([[97, 257, 98, 98, 98], [97, 97, 97, 257, 98]], {}, ["a", "aaa"], 4),
        ([[98, 65, 98, 98, 98], [97, 97, 66, 97, 97]], {"stops": (65, 66)}, ["b", "aa"], 3),
        ([[97, 257, 98], [97, 97, 97]], {"stop_at_end": False}, ["ab", "aaa"], 3),
    ],
)
def test_a_sample_ends_at_its_end_and_all_end_with_the_last(
    monkeypatch, rows, options, texts, steps
):
    asked, parts = _scripted(monkeypatch, rows), []
    options = {"samples": 2, "on_text": parts.append, **options}
    assert _generate(small("gru"), **options) == texts
    assert len(asked) == steps
    assert "".join(parts) == texts[0]
