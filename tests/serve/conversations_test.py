import numpy as np

from mmrec_jax.inference.prefill import TextState
from mmrec_jax.serve.conversations import Conversations
from mmrec_jax.tokenizers.conversation import Message

_BYTES = 100 + 8 + 2  # of the state


def _state(length):
    return TextState(
        np.zeros(100, np.uint8), np.zeros((1, 2), np.float32), np.zeros((1, 2), bool), length, 0, ()
    )


def _talk(*texts):
    roles = ("user", "assistant")
    return [Message(roles[i % 2], text) for i, text in enumerate(texts)]


def _lengths(kept, messages):
    return [(index, state.length) for index, state in kept.states(messages)]


def test_the_longest_known_beginning_comes_first():
    kept = Conversations(10 * _BYTES)
    kept.keep(_talk("a", "b"), _state(1))
    kept.keep(_talk("a", "b", "c", "d"), _state(2))
    assert _lengths(kept, _talk("a", "b", "c", "d", "e")) == [(3, 2), (1, 1)]
    assert _lengths(kept, _talk("a", "b", "C", "d", "e")) == [(1, 1)]
    for other in (_talk("ab", ""), _talk("", "ab"), [Message("system", "a"), *_talk("x")]):
        assert _lengths(kept, other) == []


def test_the_least_recently_used_go_when_the_bytes_are_used_up():
    kept = Conversations(2 * _BYTES)
    for text in ("a", "b"):
        kept.keep(_talk(text, ""), _state(1))
    assert _lengths(kept, _talk("a", "", "next")) == [(1, 1)]
    kept.keep(_talk("c", ""), _state(1))
    assert [len(_lengths(kept, _talk(text, ""))) for text in "abc"] == [1, 0, 1]
    kept.keep(_talk("c", ""), _state(2))  # in place of the former one
    assert (len(kept), kept.num_bytes) == (2, 2 * _BYTES)
    Conversations(_BYTES - 1).keep(_talk("a", ""), _state(1))  # too large for it: not kept


def test_each_of_many_messages_is_looked_at_once():
    class Watched:
        role, looks = "user", 0

        @property
        def text(self):
            self.looks += 1
            return "a"

    messages = [Watched() for _ in range(50)]
    assert _lengths(Conversations(_BYTES), messages) == []
    assert {message.looks for message in messages} == {1}
