"""What is told of a text while it is drawn: no more than is certain to stay."""

from collections.abc import Sequence
from typing import NamedTuple

from mmrec_jax.inference.generate import TextStream


class TokenScore(NamedTuple):
    """A drawn token and its log-probability, beside those of the most likely ones."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    offset: int = 0  # characters of the text before it


class ToldText:
    """The text of drawn tokens up to the first of some stop strings, which may cross tokens.

    Attributes:
      stream: what decodes the tokens.
      text: what was told.
      stopped: whether a stop string was found; nothing is told after that.
    """

    def __init__(self, stream: TextStream, stops: Sequence[str] = ()) -> None:
        """`stops` are not empty."""
        self.stopped, self.text = False, ""
        self.stream, self._stops = stream, stops
        self._held = ""  # text that a stop string may begin in
        self._scores: list[TokenScore] = []  # of tokens whose text is not told yet

    def push(self, token: int, score: TokenScore | None = None) -> tuple[str, list[TokenScore]]:
        """What is certain with the next token: text, and the scores of the tokens in it."""
        if score is not None:
            self._scores.append(score._replace(offset=len(self.text) + len(self._held)))
        return self._tell(self.stream.push(token), last=False)

    def finish(self) -> tuple[str, list[TokenScore]]:
        """The rest, of a text that was not stopped."""
        return self._tell(self.stream.finish(), last=True)

    def _tell(self, added: str, last: bool) -> tuple[str, list[TokenScore]]:
        text = self._held + added
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        self.stopped = bool(found)
        cut = min(found) if found else len(text) - (0 if last else self._may_begin_stop(text))
        self._held = text[cut:]
        self.text += text[:cut]
        whole = last and not self.stopped
        count = sum(whole or score.offset < len(self.text) for score in self._scores)
        ready, self._scores = self._scores[:count], self._scores[count:]
        return text[:cut], ready

    def _may_begin_stop(self, text: str) -> int:
        """The length of the longest end of the text that is the beginning of a stop string."""
        lengths = range(min(len(text), max(map(len, self._stops), default=1) - 1), 0, -1)
        ends = (n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops))
        return next(ends, 0)
