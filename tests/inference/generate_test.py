import numpy as np
import pytest

from mmrec_jax.inference import generate as generation
from mmrec_jax.inference.prefill import read
from mmrec_jax.inference.sampling import Sampling
from tests.small_writer import MODEL, TOKENIZER, forward, parameters

_GREEDY = Sampling(temperature=0.0)
_RANDOM = Sampling(temperature=1.0, top_p=1.0)


@pytest.fixture(scope="module")
def params():
    return parameters()


def test_greedy_text_is_the_argmax_of_whole_forward_passes(params):
    prompt = [256, *"göl".encode()]
    start = read(MODEL, params, np.array(prompt))
    rows = generation.stream(MODEL, params, start, max_tokens=12, sampling=_GREEDY)
    drawn = [int(tokens[0]) for tokens, _ in rows]
    ids = list(prompt)
    for _ in range(12):
        ids.append(int(np.argmax(forward(params, ids)[0][-1])))
    assert drawn == ids[len(prompt) :]
    assert len(set(drawn)) > 1


def _generate(params, **options):
    return generation.generate(MODEL, params, TOKENIZER, "göl", max_tokens=24, **options)


def _drawn(params, seed):
    start = read(MODEL, params, np.array([256, *"göl".encode()]))
    options = {"samples": 3, "sampling": _RANDOM, "seed": seed}
    stream = generation.stream(MODEL, params, start, max_tokens=24, **options)
    rows = np.stack([tokens for tokens, _ in stream], 1)
    return [tuple(row) for row in rows.tolist()]


def test_samples_differ_and_the_same_seed_gives_the_same_tokens(params):
    first = _drawn(params, seed=5)
    assert len(set(first)) == 3
    assert first == _drawn(params, seed=5)
    assert not set(first) & set(_drawn(params, seed=6))


def test_a_row_that_drew_an_end_stays_as_it_was(params):
    free = _drawn(params, seed=5)
    ends = (300, free[0][3])
    stays = [next((i for i, token in enumerate(row) if token in ends), 24) for row in free]
    assert len(set(stays)) > 1
    start = read(MODEL, params, np.array([256, *"göl".encode()]))
    options = {"samples": 3, "sampling": _RANDOM, "seed": 5, "ends": ends}
    drawn = []
    for tokens, rows in generation.stream(MODEL, params, start, max_tokens=24, **options):
        drawn.append(tokens)
        last = np.asarray(rows.seen)
    for row, (tokens, stay) in enumerate(zip(np.stack(drawn, 1).tolist(), stays, strict=True)):
        end = [free[row][stay]] if stay < 24 else []
        assert tokens == [*free[row][:stay], *end, *[300] * (24 - stay - len(end))]
        seen = {256, *"göl".encode(), *free[row][:stay]}
        assert set(last[row].nonzero()[0].tolist()) == seen


def test_a_prompt_in_ids_is_read_as_it_is(params):
    ids = np.array([256, *"göl".encode()], np.int32)
    options = {"max_tokens": 24, "sampling": _RANDOM, "samples": 3, "seed": 2}
    expected = generation.generate(MODEL, params, TOKENIZER, "göl", **options)
    assert generation.generate(MODEL, params, TOKENIZER, ids, **options) == expected


def test_tokens_seen_in_the_prompt_are_penalised(params):
    ids = [256, *"göl".encode()]
    likeliest = int(np.argmax(forward(params, ids)[0][-1]))
    prompt = np.array([likeliest, *ids])
    expected = forward(params, prompt)[0][-1].copy()
    for token in set(prompt.tolist()):
        expected[token] *= 0.01 if expected[token] > 0 else 100.0
    harsh = Sampling(temperature=0.0, repetition_penalty=100.0)
    start = read(MODEL, params, prompt)
    tokens, _ = next(generation.stream(MODEL, params, start, max_tokens=1, sampling=harsh))
    assert int(tokens[0]) == np.argmax(expected)
    assert int(tokens[0]) not in prompt


def test_tokens_drawn_are_penalised_from_then_on(params):
    harsh = Sampling(temperature=0.0, repetition_penalty=1e4)
    start = read(MODEL, params, np.array([256]))
    stream = generation.stream(MODEL, params, start, max_tokens=20, sampling=harsh)
    assert len({int(tokens[0]) for tokens, _ in stream}) == 20


def test_pieces_as_they_come_join_to_the_text_returned(params):
    """An untrained model writes bytes that are no characters: the hardest case."""
    for seed in range(3):
        pieces = []
        texts = _generate(
            params,
            samples=2,
            seed=seed,
            sampling=_RANDOM,
            on_text=pieces.append,
        )
        assert "".join(pieces) == texts[0]
        assert any(pieces)


def _scripted(monkeypatch, rows):
    """Lets the model draw these tokens, one list a sample; returns how many were asked for."""
    asked = []

    def stream(*arguments, max_tokens, **options):
        for tokens in list(zip(*rows, strict=True))[:max_tokens]:
            asked.append(tokens)
            yield np.array(tokens, np.int32), None

    monkeypatch.setattr(generation, "stream", stream)
    return asked


def test_a_sample_ends_with_its_document_and_all_end_with_the_last(params, monkeypatch):
    rows = [[97, 257, 98, 98, 98], [97, 97, 97, 257, 98]]
    asked = _scripted(monkeypatch, rows)
    pieces = []
    assert _generate(params, samples=2, on_text=pieces.append) == ["a", "aaa"]
    assert len(asked) == 4
    assert "".join(pieces) == "a"


def test_a_text_may_end_at_other_tokens(params, monkeypatch):
    rows = [[98, 65, 98, 98, 98], [97, 97, 66, 97, 97]]
    asked = _scripted(monkeypatch, rows)
    assert _generate(params, samples=2, stops=(65, 66)) == ["b", "aa"]
    assert len(asked) == 3


def test_the_end_of_the_document_can_be_ignored(params, monkeypatch):
    _scripted(monkeypatch, [[97, 257, 98]])
    pieces = []
    assert _generate(params, stop_at_end=False, on_text=pieces.append) == ["ab"]
    assert "".join(pieces) == "ab"
