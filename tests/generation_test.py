import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import generation
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.nn.model import MMRecLM
from mmrec_jax.nn.state import zero_state
from mmrec_jax.sampling import Sampling
from tests.small_run import quick_jit, small_model

_TOKENIZER = ByteTokenizer()
_CONFIG = small_model(vocab_size=258, gate="input", gamma_halflife_max=64.0)
_MODEL = MMRecLM(_CONFIG)
_LONGEST = 300
_GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def params():
    def start():
        params = _MODEL.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
        return params | {"embed": jax.tree.map(lambda x: x * 10, params["embed"])}

    return quick_jit(start)()


@quick_jit
def _whole(params, tokens, real):
    return _MODEL.apply({"params": params}, tokens, None, real.astype(jnp.int32))


def _forward(params, ids):
    """Logits of every token of `ids` and the state, from one call on the whole sequence."""
    tokens = np.zeros((1, _LONGEST), np.int32)
    tokens[0, : len(ids)] = ids
    real = np.arange(_LONGEST)[None] < len(ids)
    logits, state, _ = _whole(params, jnp.asarray(tokens), jnp.asarray(real))
    return np.asarray(logits[0, : len(ids)]), state


def _assert_same_state(actual, expected):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, np.broadcast_to(e, a.shape), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 256, 300])
def test_reading_in_pieces_is_reading_at_once(rng, params, length):
    ids = rng.integers(0, 258, length)
    logits, state = generation.prefill(_MODEL, params, ids, zero_state(_CONFIG, 2))
    expected_logits, expected_state = _forward(params, ids)
    for row in logits:
        np.testing.assert_allclose(row, expected_logits[-1], rtol=1e-4, atol=1e-4)
    assert state.position.tolist() == [length, length]
    _assert_same_state(state.h, expected_state.h)
    _assert_same_state(state.m, expected_state.m)


def test_reading_goes_on_where_a_state_left_off(rng, params):
    ids = rng.integers(0, 258, 70)
    _, middle = generation.prefill(_MODEL, params, ids[:40], zero_state(_CONFIG, 1))
    logits, state = generation.prefill(_MODEL, params, ids[40:], middle)
    expected_logits, expected_state = _forward(params, ids)
    np.testing.assert_allclose(logits[0], expected_logits[-1], rtol=1e-4, atol=1e-4)
    _assert_same_state(state.h, expected_state.h)


def test_greedy_text_is_the_argmax_of_whole_forward_passes(params):
    prompt = [256, *"göl".encode()]
    drawn = [
        int(tokens[0])
        for tokens in generation.stream(
            _MODEL, params, np.array(prompt), max_tokens=12, sampling=_GREEDY
        )
    ]
    ids = list(prompt)
    for _ in range(12):
        ids.append(int(np.argmax(_forward(params, ids)[0][-1])))
    assert drawn == ids[len(prompt) :]
    assert len(set(drawn)) > 1


def _generate(params, **options):
    return generation.generate(_MODEL, params, _TOKENIZER, "göl", max_tokens=24, **options)


def _drawn(params, seed):
    prompt = np.array([256, *"göl".encode()])
    options = {"samples": 3, "sampling": Sampling(temperature=1.0, top_p=1.0), "seed": seed}
    rows = np.stack(list(generation.stream(_MODEL, params, prompt, max_tokens=24, **options)), 1)
    return [tuple(row) for row in rows.tolist()]


def test_samples_differ_and_the_same_seed_gives_the_same_tokens(params):
    first = _drawn(params, seed=5)
    assert len(set(first)) == 3
    assert first == _drawn(params, seed=5)
    assert not set(first) & set(_drawn(params, seed=6))


def test_tokens_seen_in_the_prompt_are_penalised(params):
    ids = [256, *"göl".encode()]
    likeliest = int(np.argmax(_forward(params, ids)[0][-1]))
    prompt = np.array([likeliest, *ids])
    expected = _forward(params, prompt)[0][-1].copy()
    for token in set(prompt.tolist()):
        expected[token] *= 0.01 if expected[token] > 0 else 100.0
    harsh = Sampling(temperature=0.0, repetition_penalty=100.0)
    tokens = next(generation.stream(_MODEL, params, prompt, max_tokens=1, sampling=harsh))
    assert int(tokens[0]) == np.argmax(expected)
    assert int(tokens[0]) not in prompt


def test_tokens_drawn_are_penalised_from_then_on(params):
    harsh = Sampling(temperature=0.0, repetition_penalty=1e4)
    stream = generation.stream(_MODEL, params, np.array([256]), max_tokens=20, sampling=harsh)
    assert len({int(tokens[0]) for tokens in stream}) == 20


def test_pieces_as_they_come_join_to_the_text_returned(params):
    """An untrained model writes bytes that are no characters: the hardest case."""
    for seed in range(3):
        pieces = []
        texts = _generate(
            params,
            samples=2,
            seed=seed,
            sampling=Sampling(temperature=1.0, top_p=1.0),
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
            yield np.array(tokens, np.int32)

    monkeypatch.setattr(generation, "stream", stream)
    return asked


def test_a_sample_ends_with_its_document_and_all_end_with_the_last(params, monkeypatch):
    rows = [[97, 257, 98, 98, 98], [97, 97, 97, 257, 98]]
    asked = _scripted(monkeypatch, rows)
    pieces = []
    assert _generate(params, samples=2, on_text=pieces.append) == ["a", "aaa"]
    assert len(asked) == 4
    assert "".join(pieces) == "a"


def test_the_end_of_the_document_can_be_ignored(params, monkeypatch):
    _scripted(monkeypatch, [[97, 257, 98]])
    pieces = []
    assert _generate(params, stop_at_end=False, on_text=pieces.append) == ["ab"]
    assert "".join(pieces) == "ab"
