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
_SAMPLING = Sampling(temperature=1.0, top_p=0.9, repetition_penalty=1.5)
_LENGTH, _TOKENIZER = 24, ByteTokenizer()


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A model and its parameters."""
    return small(request.param)


def _write(family, prompt="", state=None, max_tokens=_LENGTH, tokenizer=_TOKENIZER, **options):
    """The text and the state after it."""
    states = []
    options = {"sampling": _SAMPLING, "seed": 3, "stop_at_end": False} | options
    texts = generation.generate(
        *family,
        tokenizer,
        prompt,
        max_tokens=max_tokens,
        state=state,
        on_state=states.append,
        **options,
    )
    assert len(states) == 1
    return texts[0], states[0]


@pytest.fixture(scope="module")
def whole(family):
    return _write(family, "göl")


def _parts(state):
    return [
        *map(np.asarray, jax.tree.leaves((with_room(state.state, 0), state.logits, state.seen)))
    ]


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
    for cut in range(_LENGTH + 1):
        first, middle = _write(family, "göl", max_tokens=cut)
        inside += middle.pending > 0
        second, last = _write(family, state=middle, max_tokens=_LENGTH - cut)
        assert first + second == text
        _assert_same(last, state)
    assert inside >= 3


def test_what_is_told_joins_to_the_text(family, whole):
    told = []
    _, middle = _write(family, "göl", max_tokens=9, on_text=told.append)
    _write(family, state=middle, max_tokens=_LENGTH - 9, on_text=told.append)
    assert "".join(told) == whole[0]


def test_the_state_is_that_before_the_model_ended_the_document(family, whole):
    drawn = _drawn(family)
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


def _drawn(family):
    start = prefill(*family, np.array([256, *"göl".encode()]))
    rows = generation.stream(*family, start, max_tokens=_LENGTH, sampling=_SAMPLING, seed=3)
    return [int(tokens[0]) for tokens, _ in rows]


def test_a_state_is_forked_and_left_as_it_is(family):
    _, middle = _write(family, "göl", max_tokens=9)
    before = [part.copy() for part in _parts(middle)]
    texts = [_write(family, " köprü", middle)[0] for _ in range(2)]
    others = [
        _write(family, " yol", middle)[0],
        _write(family, " köprü", middle, seed=4)[0],
        _write(family, "", middle)[0],
    ]
    assert texts[0] == texts[1]
    assert len({texts[0], *others}) == 4
    for part, old in zip(_parts(middle), before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_a_state_on_the_device_is_left_as_it_is_too(family, whole):
    _, start = _write(family, "göl", max_tokens=0)
    for _ in range(2):
        assert _write(family, state=start)[0] == whole[0]


def test_many_samples_continue_one_state(family):
    _, middle = _write(family, "göl", max_tokens=0)
    options = {"sampling": _SAMPLING, "seed": 3, "samples": 3, "max_tokens": 8}
    texts = generation.generate(*family, _TOKENIZER, state=middle, **options)
    assert texts == generation.generate(*family, _TOKENIZER, "göl", **options)
    assert len(set(texts)) == 3


def test_a_prompt_goes_on_with_the_same_document(family):
    _, middle = _write(family, "göl", max_tokens=9)
    _, after = _write(family, " yol", middle, max_tokens=0)
    assert after.length == middle.length + 4
    assert after.draws == middle.draws == 9
    assert after.pending == 0


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
