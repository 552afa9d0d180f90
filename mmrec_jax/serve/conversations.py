"""The states of conversations, so that a message costs its own tokens and not those before it."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from mmrec_jax.inference.prefill import TextState
from mmrec_jax.tokenizers.conversation import Message
from mmrec_jax.tree import num_bytes


class Conversations:
    """States after responses, by all messages up to there; the least recently used ones go first.

    Attributes:
      num_bytes: of all states that are kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.num_bytes = 0
        self._most_bytes = most_bytes
        self._states: OrderedDict[bytes, TextState] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def keep(self, messages: Sequence[Message], state: TextState) -> None:
        """Keeps the state after `messages`, the last of which is the response."""
        *_, key = _keys(messages)
        with self._lock:
            if key in self._states:
                self.num_bytes -= _size(self._states.pop(key))
            self._states[key] = state
            self.num_bytes += _size(state)
            while self.num_bytes > self._most_bytes:
                self.num_bytes -= _size(self._states.popitem(last=False)[1])

    def states(self, messages: Sequence[Message]) -> Iterator[tuple[int, TextState]]:
        """The indices of responses whose states are kept, and those; the last one first."""
        for index, key in reversed(list(enumerate(_keys(messages)))):
            with self._lock:
                state = self._states.get(key)
                if state is not None:
                    self._states.move_to_end(key)
            if state is not None:
                yield index, state


def _keys(messages: Sequence[Message]) -> Iterator[bytes]:
    """A digest of the messages up to each of them: many short ones are looked at once each."""
    digest = hashlib.sha256()
    for message in messages:
        text = message.text.encode(errors="surrogatepass")  # the tokenizer refuses those
        digest.update(f"{message.role} {len(text)} ".encode() + text)
        yield digest.digest()


def _size(state: TextState) -> int:
    return num_bytes((state.state, state.logits, state.seen))
