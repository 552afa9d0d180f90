"""A text that is stopped and continued is the text that was never stopped."""

import jax
import numpy as np
import pytest

from mmrec_jax.inference import generate as generation
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.inference.rereading import with_room
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.families import FAMILIES, small

# Every part of a state matters to the next token: the penalty needs the tokens seen.
_SAMPLING = Sampling(temperature=2.5, top_p=0.9, repetition_penalty=1.5)
_LENGTH, _TOKENIZER = 24, ByteTokenizer()


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A model and its parameters."""
    return small(request.param)


def _write(family, prompt="", state=None, max_tokens=_LENGTH, tokenizer=_TOKENIZER, **options):
    """The text and the state after it."""
    states = []
    options = {"sampling": _SAMPLING, "seed": 3, "stop_at_end": False} | options
    options |= {"max_tokens": max_tokens, "state": state, "on_state": states.append}
    texts = generation.generate(*family, tokenizer, prompt, **options)
    assert len(states) == 1
    return texts[0], states[0]


@pytest.fixture(scope="module")
def whole(family):
    return _write(family, "göl")


def _parts(state):
    leaves = jax.tree.leaves((with_room(state.state, 0), state.logits, state.seen))
    return [np.array(leaf) for leaf in leaves]


def _assert_same(state, expected):
    for part, other in zip(_parts(state), _parts(expected), strict=True):
        np.testing.assert_array_equal(part, other)
    assert state.draws == expected.draws
    assert _TOKENIZER.decode(state.tail)[-1:] == _TOKENIZER.decode(expected.tail)[-1:]
    assert state.pending == expected.pending


def test_wherever_it_was_interrupted(family, whole):
    """An untrained model writes bytes that are no characters: many cuts fall inside one."""
    text, state = whole
    assert state.length == 1 + len("göl".encode()) + _LENGTH
    inside = 0
    for cut in range(0, _LENGTH + 1, 3):
        told = []
        first, middle = _write(family, "göl", max_tokens=cut, on_text=told.append)
        inside += middle.pending > 0
        rest = {"max_tokens": _LENGTH - cut, "on_text": told.append}
        second, last = _write(family, state=middle, **rest)
        assert first + second == "".join(told) == text
        _assert_same(last, state)
    assert inside >= 1


def test_the_state_is_that_before_the_model_ended_the_document(family, whole):
    start = prefill(*family, np.array([256, *"göl".encode()]))
    rows = generation.stream(*family, start, max_tokens=_LENGTH, sampling=_SAMPLING, seed=3)
    drawn = [int(tokens[0]) for tokens, _ in rows]
    ending = ByteTokenizer()
    ending.eos_id = drawn[10]
    count = drawn.index(ending.eos_id)
    text, state = _write(family, "göl", tokenizer=ending, stop_at_end=True)
    assert state.draws == count
    _assert_same(state, _write(family, "göl", max_tokens=count)[1])
    again, same = _write(family, state=state, tokenizer=ending, stop_at_end=True)
    assert again == ""  # the same seed draws the end once more
    _assert_same(same, state)
    rest, last = _write(family, state=state, max_tokens=_LENGTH - count)
    assert text + rest == whole[0]
    _assert_same(last, whole[1])


def test_a_state_is_forked_and_left_as_it_is(family):
    _, middle = _write(family, "göl", max_tokens=9)
    before = _parts(middle)
    prompts = (" köprü", 3), (" köprü", 3), (" yol", 3), (" köprü", 4), ("", 3)
    texts = [_write(family, prompt, middle, seed=seed)[0] for prompt, seed in prompts]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4
    _, after = _write(family, " yol", middle, max_tokens=0)
    assert (after.length, after.draws, after.pending) == (middle.length + 4, 9, 0)
    for part, old in zip(_parts(middle), before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_many_samples_continue_one_state_on_the_device(family, whole):
    _, start = _write(family, "göl", max_tokens=0)
    options = {"sampling": _SAMPLING, "seed": 3, "samples": 3, "max_tokens": 8}
    texts = generation.generate(*family, _TOKENIZER, state=start, **options)
    assert texts == generation.generate(*family, _TOKENIZER, "göl", **options)
    assert len(set(texts)) == 3
    for _ in range(2):  # it is left as it is
        assert _write(family, state=start)[0] == whole[0]


def test_a_state_of_many_samples_is_refused():
    with pytest.raises(ValueError, match="samples"):
        _write(small("gru"), samples=2)


def test_a_prompt_after_a_state_is_encoded_as_a_continuation(family):
    asked = []

    class Recorder(ByteTokenizer):
        def encode(self, text, *, continues=False):
            asked.append((text, continues))
            return super().encode(text, continues=continues)

    _, state = _write(family, "gö", max_tokens=2, tokenizer=Recorder())
    _write(family, "ler", state, max_tokens=2, tokenizer=Recorder())
    assert asked == [("gö", False), ("ler", True)]
