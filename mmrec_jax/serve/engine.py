"""Continuous batching: a batch of states, each of a text that comes and goes by itself.

The batch has one of a few sizes, for as many texts as are being written; a program is compiled for
each before the first text comes. One thread owns the device. Between two decode steps of all rows
it reads at most a chunk of one waiting prompt, so that neither a new text nor those that are being
written wait for long. States that grow with the text (a transformer's cache, the text that is read
again) share the room of the longest one, whose doubling is a new compiled program.
"""

import collections
import dataclasses
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.inference.decode import Rows, begin_rows, step, take_rows, top_logprobs
from mmrec_jax.inference.generate import TextStream, state_after
from mmrec_jax.inference.prefill import TextState, prefill
from mmrec_jax.inference.rereading import colocate, with_state
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.serve.told_text import TokenScore, ToldText
from mmrec_jax.tokenizers.tokenizer import Tokenizer

MOST_TOP_LOGPROBS = 20
_GROWTH = 4  # of the batch from one size to the next
_CHUNK = 512  # tokens of a prompt between two steps; whole chunks of `prefill`


class Busy(Exception):
    """As many requests wait as may."""


class Delta(NamedTuple):
    """What is added to one of the samples of the requests that were submitted together."""

    sample: int  # its index among all of them
    text: str = ""
    scores: Sequence[TokenScore] = ()
    tokens: int = 0  # drawn; one at which the text ended is not counted
    finish: str = ""  # of the last one: "stop", "length" or "error"


@dataclasses.dataclass
class Request:
    """A text to be continued."""

    ids: np.ndarray  # int32 [n], n >= 1, to be read after `before`
    max_tokens: int
    ends: Sequence[int] = ()
    stops: Sequence[str] = ()
    before: TextState | None = None
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    seed: int = 0
    samples: int = 1
    scores: int | None = None  # how many likely tokens beside the score of the one drawn
    # Called in the engine's thread with a sample's text and the state after it, if it can go on
    keep: Callable[[str, TextState], None] | None = None
    cancelled: bool = False
    # Set when it is submitted: who is told, and the index of its first sample
    deliver: Callable[[Delta], None] = dataclasses.field(init=False)
    first: int = dataclasses.field(init=False)

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return len(self.ids) + (self.before.length if self.before else 0)


@dataclasses.dataclass
class _Writing:
    """A sample in its row."""

    request: Request
    sample: int
    start: TextState
    told: ToldText
    drawn: int = 0

    def deliver(self, *added: Any, **others: Any) -> None:
        self.request.deliver(Delta(self.request.first + self.sample, *added, **others))


class Engine:
    """Writes what is submitted, in rows of one batch.

    Attributes:
      counts: of what it has done, by names fit for metrics.
    """

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        tokenizer: Tokenizer,
        *,
        slots: int,
        most_waiting: int,
    ) -> None:
        """`start` begins."""
        self.counts: collections.Counter[str] = collections.Counter()
        self.slots = slots
        self._sizes = [slots]
        while self._sizes[0] > 1:
            self._sizes.insert(0, -(-self._sizes[0] // _GROWTH))
        self._model, self._params, self._tokenizer = with_state(model), params, tokenizer
        self._most_waiting = most_waiting
        self._vocabulary = np.int32(tokenizer.vocab_size)
        self._waiting: collections.deque[Request] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._clear()

    @property
    def alive(self) -> bool:
        """Whether what is submitted will be written."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Requests that are not being written yet."""
        return len(self._waiting) + (self._reading is not None)

    @property
    def running(self) -> int:
        """Samples that are being written."""
        return len(self._writing)

    def start(self) -> None:
        """Begins; what every text needs is compiled first.

        Raises:
          UserError: a first text could not be written.
        """
        self._thread.start()
        ids = np.full(_CHUNK // 2 + 1, self._tokenizer.bos_id, np.int32)  # both lengths of chunks
        for size in self._sizes:
            whole = Request(ids, max_tokens=2, samples=size, scores=1)
            collections.deque(self.write([whole]), maxlen=0)
        # Texts come one by one, and leave so once all are there: each size from each beside it.
        count = min(self.slots, self._most_waiting)
        single = [Request(ids[:1], max_tokens=count + 1) for _ in range(count)]
        collections.deque(self.write(single), maxlen=0)
        self.counts.clear()

    def submit(self, requests: Sequence[Request], deliver: Callable[[Delta], None]) -> None:
        """Queues requests, each of at most as many samples as there are slots.

        `deliver` is called from the engine's thread.

        Raises:
          Busy: too many wait already; none of these was queued.
        """
        first = 0
        for request in requests:
            request.deliver, request.first = deliver, first
            first += request.samples
        with self._changed:
            if not self.alive or self.waiting + len(requests) > self._most_waiting:
                raise Busy
            self._waiting.extend(requests)
            self.counts["requests"] += len(requests)
            self._changed.notify()

    def write(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """What is added to the samples of requests, until all have ended.

        Raises:
          Busy: too many wait already.
          UserError: a text could not be written.
        """
        told: queue.SimpleQueue[Delta] = queue.SimpleQueue()
        self.submit(requests, told.put)
        left = sum(request.samples for request in requests)
        while left:
            delta = told.get()
            left -= bool(delta.finish)
            if delta.finish == "error":
                raise UserError(
                    "a text could not be written, as is said above; if memory ran out, fewer "
                    "samples at once take less (--slots, --batch-size)"
                )
            yield delta

    def close(self) -> None:
        """Ends the thread; what is waiting or being written ends with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self.waiting or self.running)
            if self._closed:
                return self._fail(*self._waiting)
            try:
                next(self._chunks)
                if self.running:
                    self._write()
            except Exception:
                # The step has consumed its rows: what was in them is lost, and the rest goes on.
                traceback.print_exc(file=sys.stderr)
                self._fail()

    def _clear(self) -> None:
        self._reading: Request | None = None
        self._chunks = self._read()
        self._writing: list[_Writing] = []
        self._rows: Rows | None = None

    def _regroup(self, kept: Sequence[int], *new: Rows) -> None:
        """Makes the batch, in one of its sizes, of some of its rows and new ones."""
        parts = new if self._rows is None else (self._rows, *new)
        indices = [*kept, *range(sum(map(len, parts)) - sum(map(len, new)), sum(map(len, parts)))]
        size = next(size for size in self._sizes if size >= len(indices))
        self._rows = take_rows(self._model, parts, indices, size) if indices else None

    def _fail(self, *requests: Request) -> None:
        """Ends what is being read and written with an error, and these requests."""
        for request in (*requests, *([self._reading] if self._reading else [])):
            for sample in range(request.samples):
                request.deliver(Delta(request.first + sample, finish="error"))
        for each in self._writing:
            each.deliver(finish="error")
        self._clear()

    def _read(self) -> Iterator[None]:
        """Reads prompts in their order, a chunk at a time, and puts each that was read in rows."""
        while True:
            self._reading = request = self._next_request()
            if request is not None:
                text = request.before
                for begin in range(0, len(request.ids), _CHUNK):
                    if begin:
                        yield
                    chunk = request.ids[begin : begin + _CHUNK]
                    text = prefill(self._model, self._params, chunk, text)
                    self.counts["prompt_tokens"] += len(chunk)
                assert text is not None
                self.counts["reused_tokens"] += text.length - len(request.ids)
                self._put(request, text)
                self._reading = None  # not before: whoever waits for it is told if that fails
            yield

    def _next_request(self) -> Request | None:
        """The first that waits, if there are rows for it."""
        with self._changed:
            while self._waiting and self._waiting[0].cancelled:
                self._waiting.popleft()
            if self._waiting and self._waiting[0].samples <= self.slots - self.running:
                return self._waiting.popleft()
        return None

    def _put(self, request: Request, text: TextState) -> None:
        rows = begin_rows(
            self._model,
            text,
            range(request.samples),
            sampling=request.sampling,
            seed=request.seed,
            ends=request.ends,
        )
        self._regroup(range(self.running), colocate(self._params, rows))
        for sample in range(request.samples):
            told = ToldText(TextStream(self._tokenizer, text.tail, text.pending), request.stops)
            self._writing.append(_Writing(request, sample, text, told))

    def _write(self) -> None:
        """One token of each sample."""
        begin, rows = time.monotonic(), self._rows
        assert rows is not None
        likely: list[list[tuple[int, float]]] = [[] for _ in self._writing]
        if any(each.request.scores for each in self._writing):
            most = min(MOST_TOP_LOGPROBS, int(self._vocabulary))
            found = top_logprobs(rows, self._vocabulary, most)
            values, ids = (np.asarray(x).tolist() for x in found)
            likely = [list(zip(*each, strict=True)) for each in zip(ids, values, strict=True)]
        drawn, self._rows = step(self._model, self._params, rows, self._vocabulary)
        tokens, logprobs = np.asarray(drawn.tokens), np.asarray(drawn.logprobs)
        kept = []
        for row, each in enumerate(self._writing):
            score = None
            if (most_likely := each.request.scores) is not None:
                top = tuple(likely[row][:most_likely])
                score = TokenScore(int(tokens[row]), float(logprobs[row]), top)
            if each.request.cancelled:
                continue
            if self._advance(self._rows, row, each, int(tokens[row]), score):
                kept.append(row)
        if len(kept) < self.running:
            self._writing = [self._writing[row] for row in kept]
            self._regroup(kept)
        self.counts["decode_steps"] += 1
        self.counts["decode_seconds"] += time.monotonic() - begin  # type: ignore[assignment]

    def _advance(
        self, batch: Rows, row: int, each: _Writing, token: int, score: TokenScore | None
    ) -> bool:
        """Tells of the next token of a sample; whether more follow."""
        request, told, ended = each.request, each.told, token in each.request.ends
        if not ended:
            self.counts["generated_tokens"] += 1
            each.drawn += 1
            each.deliver(*told.push(token, score), tokens=1)
            if not told.stopped and each.drawn < request.max_tokens:
                return True
        if not told.stopped:
            state = None
            if request.keep and not told.stream.pending:  # else the state has read more than text
                alone = take_rows(self._model, [batch], [row], 1)
                state = state_after(each.start, each.drawn, alone, told.stream)
            each.deliver(*told.finish())
            if request.keep and state and not told.stopped:
                # What follows has a seed of its own.
                request.keep(told.text, dataclasses.replace(state, draws=0))
        each.deliver(finish="stop" if ended or told.stopped else "length")
        return False
