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
from typing import NamedTuple

import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.inference.decode import (
    Rows,
    begin_rows,
    idle_rows,
    put_row,
    row_at,
    step,
    take_rows,
    top_logprobs,
)
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
    """What is added to one sample of a request."""

    sample: int
    text: str = ""
    scores: Sequence[TokenScore] = ()
    tokens: int = 0  # drawn; one at which the text ended is not counted
    finish: str = ""  # of the last one: "stop", "length" or "error"


@dataclasses.dataclass
class Request:
    """A text to be continued. Its functions are called from the engine's thread."""

    ids: np.ndarray  # int32 [n], n >= 1, to be read after `before`
    deliver: Callable[[Delta], None]
    max_tokens: int
    ends: Sequence[int] = ()
    stops: Sequence[str] = ()
    before: TextState | None = None
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    seed: int = 0
    samples: int = 1
    scores: int | None = None  # how many likely tokens beside the score of the one drawn
    # Called with a sample's text and the state after it, if it can be continued
    keep: Callable[[str, TextState], None] | None = None
    cancelled: bool = False
    submitted: float = 0.0  # seconds of the monotonic clock


@dataclasses.dataclass
class _Writing:
    """A sample in its row."""

    request: Request
    sample: int
    start: TextState
    stream: TextStream
    told: ToldText
    drawn: int = 0
    text: str = ""

    def deliver(self, text: str = "", scores: Sequence[TokenScore] = (), **others: object) -> None:
        self.text += text
        self.request.deliver(Delta(self.sample, text, scores, **others))  # type: ignore[arg-type]


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
        most_ends: int,
        most_waiting: int,
    ) -> None:
        """`most_ends` as of `decode.begin_rows`; `start` begins."""
        self.counts: collections.Counter[str] = collections.Counter()
        self.slots = slots
        self._sizes = [1, *sorted(_sizes(slots))]
        self._model, self._params, self._tokenizer = with_state(model), params, tokenizer
        self._most_ends, self._most_waiting = most_ends, most_waiting
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
        return sum(each is not None for each in self._writing)

    def start(self) -> None:
        """Begins; what every text needs is compiled first.

        Raises:
          UserError: a first text could not be written.
        """
        self._thread.start()
        ids = np.full(_CHUNK // 2 + 1, self._tokenizer.bos_id, np.int32)  # both lengths of chunks
        for size in self._sizes:
            ended: queue.SimpleQueue[str] = queue.SimpleQueue()

            def deliver(delta: Delta, ended: queue.SimpleQueue[str] = ended) -> None:
                if delta.finish:
                    ended.put(delta.finish)

            self.submit([Request(ids, deliver, max_tokens=2, samples=size, scores=1)])
            if ended.get() == "error":
                raise UserError(
                    f"{size} samples cannot be written at once, as is said above; if memory ran "
                    "out, fewer --slots take less"
                )
        self.counts.clear()

    def submit(self, requests: Sequence[Request]) -> None:
        """Queues requests, each of at most as many samples as there are slots.

        Raises:
          Busy: too many wait already; none of these was queued.
        """
        with self._changed:
            if not self.alive or self.waiting + len(requests) > self._most_waiting:
                raise Busy
            for request in requests:
                request.submitted = time.monotonic()
                self._waiting.append(request)
            self._changed.notify()

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
                break
            try:
                next(self._chunks)
                if self.running:
                    self._write()
            except Exception:
                # The step has consumed its rows: what was in them is lost, and the rest goes on.
                traceback.print_exc(file=sys.stderr)
                self._fail()
        self._fail()
        while self._waiting:
            _deliver_error(self._waiting.popleft())

    def _clear(self) -> None:
        self._reading: Request | None = None
        self._chunks = self._read()
        self._writing: list[_Writing | None] = [None]
        self._rows, self._idle = self._idle_rows(), self._idle_rows()

    def _idle_rows(self) -> Rows:
        rows: Rows = idle_rows(self._model, 1, most_ends=self._most_ends)
        return colocate(self._params, rows)

    def _fit(self, count: int) -> None:
        """Gives the batch the size for so many samples, those that are being written included."""
        size = next(size for size in self._sizes if size >= count)
        if size == len(self._writing):
            return
        kept = [slot for slot, each in enumerate(self._writing) if each is not None]
        new = size - len(kept)
        indices = [*kept, *[len(self._writing)] * new]
        self._rows = take_rows(self._model, self._rows, self._idle, indices)
        self._writing = [*(self._writing[slot] for slot in kept), *[None] * new]

    def _fail(self) -> None:
        """Ends what is being read and written with an error."""
        if self._reading is not None:
            _deliver_error(self._reading)
        for each in self._writing:
            if each is not None:
                each.deliver(finish="error")
        self._clear()

    def _read(self) -> Iterator[None]:
        """Reads prompts in their order, a chunk at a time, and puts each that was read in rows."""
        while True:
            self._reading = request = self._next_request()
            if request is None:
                yield
                continue
            text = request.before
            for begin in range(0, len(request.ids), _CHUNK):
                chunk = request.ids[begin : begin + _CHUNK]
                text = prefill(self._model, self._params, chunk, text)
                self.counts["prompt_tokens"] += len(chunk)
                if begin + _CHUNK < len(request.ids):
                    yield
            assert text is not None
            self.counts["reused_tokens"] += text.length - len(request.ids)
            self._reading = None
            self._fit(self.running + request.samples)
            for sample in range(request.samples):
                self._put(request, sample, text)
            yield

    def _next_request(self) -> Request | None:
        """The first that waits, if there are rows for it."""
        with self._changed:
            while self._waiting and self._waiting[0].cancelled:
                self._waiting.popleft()
            if self._waiting and self._waiting[0].samples <= self.slots - self.running:
                return self._waiting.popleft()
        return None

    def _put(self, request: Request, sample: int, text: TextState) -> None:
        slot = self._writing.index(None)
        row = begin_rows(
            self._model,
            text,
            [sample],
            sampling=request.sampling,
            seed=request.seed,
            ends=request.ends,
            most_ends=self._most_ends,
        )
        self._rows = put_row(self._model, self._rows, slot, colocate(self._params, row))
        stream = TextStream(self._tokenizer, text.tail, text.pending)
        told = ToldText(stream, request.stops)
        self._writing[slot] = _Writing(request, sample, text, stream, told)

    def _write(self) -> None:
        """One token of each sample."""
        begin = time.monotonic()
        self._fit(self.running)
        likely: list[list[tuple[int, float]]] = [[] for _ in self._writing]
        if any(each is not None and each.request.scores for each in self._writing):
            most = min(MOST_TOP_LOGPROBS, int(self._vocabulary))
            found = top_logprobs(self._rows, self._vocabulary, most)
            values, ids = (np.asarray(x).tolist() for x in found)
            likely = [list(zip(*each, strict=True)) for each in zip(ids, values, strict=True)]
        drawn, self._rows = step(self._model, self._params, self._rows, self._vocabulary)
        tokens, logprobs = np.asarray(drawn.tokens), np.asarray(drawn.logprobs)
        for slot, each in enumerate(self._writing):
            if each is None:
                continue
            score = None
            if (most_likely := each.request.scores) is not None:
                top = tuple(likely[slot][:most_likely])
                score = TokenScore(int(tokens[slot]), float(logprobs[slot]), top)
            if each.request.cancelled or self._advance(each, slot, int(tokens[slot]), score):
                self._writing[slot] = None
                self._rows = put_row(self._model, self._rows, slot, self._idle)
        self.counts["decode_steps"] += 1
        self.counts["decode_seconds"] += time.monotonic() - begin  # type: ignore[assignment]

    def _advance(self, each: _Writing, slot: int, token: int, score: TokenScore | None) -> bool:
        """Tells of the next token of a sample; whether it was the last one."""
        request, ended = each.request, token in each.request.ends
        if not ended:
            self.counts["generated_tokens"] += 1
            each.drawn += 1
            each.deliver(*each.told.push(token, score), tokens=1)
            if not each.told.stopped and each.drawn < request.max_tokens:
                return False
        if not each.told.stopped:
            pending = each.stream.pending  # bytes whose text would not be what the state has read
            row = row_at(self._model, self._rows, np.int32(slot)) if request.keep else None
            state = state_after(each.start, each.drawn, row, each.stream) if row else None
            each.deliver(*each.told.finish())
            if request.keep and state and not pending and not each.told.stopped:
                # What follows has a seed of its own.
                request.keep(each.text, dataclasses.replace(state, draws=0))
        each.deliver(finish="stop" if ended or each.told.stopped else "length")
        return True


def _sizes(slots: int) -> Iterator[int]:
    """From all slots down to two."""
    while slots > 1:
        yield slots
        slots = -(-slots // _GROWTH)


def _deliver_error(request: Request) -> None:
    for sample in range(request.samples):
        request.deliver(Delta(sample, finish="error"))
