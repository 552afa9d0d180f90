import threading
import time

import numpy as np
import pytest

from mmrec_jax.inference.generate import generate
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.serve import engine as serving
from mmrec_jax.serve.engine import Busy, Engine, Request
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.families import small
from tests.refused import refused

_TOKENIZER = ByteTokenizer()
_GREEDY = Sampling(temperature=0.0)


class Receiver:
    """Collects what is delivered, and at which step of the engine."""

    def __init__(self, engine):
        self.engine, self.deltas, self.steps = engine, [], []
        self.ended, self.begun = threading.Event(), threading.Event()

    def __call__(self, delta):
        self.deltas.append(delta)
        self.steps.append(self.engine.counts["decode_steps"])
        self.begun.set()
        if delta.finish:
            self.ended.set()

    @property
    def text(self):
        assert self.ended.wait(240)
        return "".join(delta.text for delta in self.deltas)

    @property
    def finish(self):
        assert self.ended.wait(240)
        return self.deltas[-1].finish


def _submit(engine, text, max_tokens, **options):
    receiver = Receiver(engine)
    ids = np.array([256, *text.encode()], np.int32)
    request = Request(ids, max_tokens, **{"sampling": _GREEDY, **options})
    engine.submit([request], receiver)
    return receiver, request


def _assert_idle(engine):
    """It tells of the end of a text before it has taken it out of the batch."""
    end = time.monotonic() + 60
    while engine.running or engine.waiting:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def engine():
    options = {"slots": 32, "most_waiting": 40}
    engine = Engine(*small("gru"), _TOKENIZER, **options)
    engine.start()
    yield engine
    engine.close()


def test_a_text_that_joins_31_others_begins_at_once_and_all_are_as_alone(engine):
    others = [_submit(engine, f"göl {i}", 150)[0] for i in range(31)]
    for other in others:
        assert other.begun.wait(240)
    at = engine.counts["decode_steps"]
    joined, _ = _submit(engine, "köprü", 20)
    expected = {
        prompt: generate(
            *small("gru"),
            _TOKENIZER,
            prompt,
            max_tokens=count,
            sampling=_GREEDY,
            stop_at_end=False,
        )[0]
        for prompt, count in (("köprü", 20), ("göl 0", 150), ("göl 30", 150))
    }
    assert joined.text == expected["köprü"]
    assert joined.steps[0] - at <= 3
    assert all(other.text for other in others)
    assert all(joined.steps[0] < other.steps[-1] for other in others)
    assert others[0].text == expected["göl 0"]
    assert others[30].text == expected["göl 30"]
    _assert_idle(engine)


def test_a_long_prompt_is_read_between_the_steps_of_others(engine):
    other, _ = _submit(engine, "göl", 100)
    assert other.begun.wait(240)
    at = engine.counts["decode_steps"]
    long, _ = _submit(engine, "x" * 3000, 1)
    assert long.finish == "length"
    assert long.steps[0] - at >= 5
    assert other.finish == "length"


def test_what_is_cancelled_leaves_its_row_and_the_queue(engine):
    endless = [_submit(engine, "a", 10**6) for _ in range(32)]
    for receiver, _ in endless:
        assert receiver.begun.wait(240)
    waiting = [_submit(engine, "b", 5) for _ in range(40)]
    with pytest.raises(Busy):
        _submit(engine, "c", 5)
    for _, request in waiting[1:]:
        request.cancelled = True
    endless[7][1].cancelled = True
    assert waiting[0][0].finish == "length"
    for _, request in endless:
        request.cancelled = True
    assert _submit(engine, "d", 3)[0].finish == "length"
    _assert_idle(engine)
    assert not waiting[1][0].deltas


def test_a_failure_ends_what_is_written_and_no_more(engine, monkeypatch, capsys):
    writing, _ = _submit(engine, "a", 10**6)
    assert writing.begun.wait(240)

    def fails(*arguments):
        monkeypatch.undo()
        raise RuntimeError("of the test")

    monkeypatch.setattr(serving, "step", fails)
    assert writing.finish == "error"
    assert _submit(engine, "b", 3)[0].finish == "length"
    assert "of the test" in capsys.readouterr().err


def test_a_text_for_which_there_is_no_memory_is_not_waited_for(engine, monkeypatch, capsys):
    def fails(*arguments):
        monkeypatch.undo()
        raise MemoryError("of the test")

    monkeypatch.setattr(serving, "take_rows", fails)
    assert _submit(engine, "a", 3)[0].finish == "error"
    assert _submit(engine, "b", 3)[0].finish == "length"
    assert "of the test" in capsys.readouterr().err
    _assert_idle(engine)


def test_an_engine_that_cannot_write_says_so_at_once(monkeypatch, capsys):
    def fails(*arguments):
        raise MemoryError("of the test")

    monkeypatch.setattr(serving, "step", fails)
    engine = Engine(*small("gru"), _TOKENIZER, slots=1, most_waiting=3)
    refused(engine.start, "--slots")
    engine.close()
    assert "of the test" in capsys.readouterr().err


def test_an_engine_that_is_closed_ends_what_it_has_and_takes_no_more():
    engine = Engine(*small("gru"), _TOKENIZER, slots=1, most_waiting=3)
    engine.start()
    running, waiting = (_submit(engine, "a", 10**6)[0] for _ in range(2))
    assert running.begun.wait(240)
    engine.close()
    assert (running.finish, waiting.finish) == ("error", "error")
    assert not engine.alive
    with pytest.raises(Busy):
        _submit(engine, "b", 3)
