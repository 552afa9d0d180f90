import numpy as np
import pytest

from mmrec_jax import generation
from mmrec_jax.chat import reply
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.chat_template import PLAIN, ChatTemplate, Frame, Token
from mmrec_jax.data.conversation import Message
from mmrec_jax.errors import UserError
from mmrec_jax.sampling import Sampling
from tests.small_writer import MODEL, forward, parameters

_GREEDY = Sampling(temperature=0.0)
_LENGTH = 8


@pytest.fixture(scope="module")
def params():
    return parameters()


@pytest.fixture
def tokenizer():
    found = ByteTokenizer()
    found.chat_template = PLAIN
    return found


def _continued(params, ids):
    """The likeliest bytes after `ids`, from whole forward passes."""
    ids = list(ids)
    for _ in range(_LENGTH):
        ids.append(int(np.argmax(forward(params, ids)[0][-1])))
    return ids[-_LENGTH:]


def _drawn(params, tokenizer, messages, **options):
    """The ids that were drawn, whose text need not be valid UTF-8, and the state after them."""
    drawn, states = [], []
    whole = generation.stream

    def stream(*arguments, **settings):
        for tokens, rows in whole(*arguments, **settings):
            drawn.append(int(tokens[0]))
            yield tokens, rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "stream", stream)
        settings = {"max_tokens": _LENGTH, "sampling": _GREEDY, "stop_at_end": False}
        reply(MODEL, params, tokenizer, messages, on_state=states.append, **(settings | options))
    return drawn, states[0]


def test_a_reply_is_what_the_model_writes_after_the_template(params, tokenizer):
    expected = _continued(params, [256, *"Soru:\ngöl\nCevap:\n".encode()])
    assert _drawn(params, tokenizer, "göl")[0] == expected
    messages = [Message("system", "ol"), Message("user", "göl")]
    expected = _continued(params, [256, *"ol\nSoru:\ngöl\nCevap:\n".encode()])
    assert _drawn(params, tokenizer, messages)[0] == expected


def test_the_next_turn_follows_the_end_of_the_last_response(params, tokenizer):
    first, state = _drawn(params, tokenizer, "göl")
    second, _ = _drawn(params, tokenizer, "iki", state=state)
    begin = [256, *"Soru:\ngöl\nCevap:\n".encode(), *first]
    assert second == _continued(params, [*begin, 257, *b"Soru:\niki\nCevap:\n"])


def test_a_reply_stops_at_the_end_of_its_turn_or_of_the_document(params, tokenizer, monkeypatch):
    tokenizer.chat_template = ChatTemplate(
        "x", Frame((), ()), Frame((), ()), Frame((), (Token("A"),))
    )
    rows = [[98, 65, 98, 98, 98], [97, 97, 257, 97, 97]]
    asked = []

    def stream(*arguments, max_tokens, **options):
        for tokens in zip(*rows, strict=True):
            asked.append(options["ends"])
            yield np.array(tokens, np.int32), None

    monkeypatch.setattr(generation, "stream", stream)
    assert reply(MODEL, params, tokenizer, "göl", samples=2) == ["b", "aa"]
    assert asked == [(65, 257)] * 3


def test_a_row_that_ended_stays_as_it_was_at_any_of_the_ends(params):
    start = generation.read(MODEL, params, np.array([256]))
    free = [int(t[0]) for t, _ in generation.stream(MODEL, params, start, max_tokens=6, seed=1)]
    assert len(set(free)) > 2
    ends = (300, free[2])
    drawn = []
    for tokens, rows in generation.stream(MODEL, params, start, max_tokens=6, seed=1, ends=ends):
        drawn.append(int(tokens[0]))
        seen = np.asarray(rows.seen[0])
    first = free.index(free[2])
    assert drawn == [*free[: first + 1], *[300] * (5 - first)]
    assert seen.nonzero()[0].tolist() == sorted({256, *free[:first]})


def test_a_model_without_a_template_is_refused(params):
    with pytest.raises(UserError, match="this model has no chat template: it was not trained on"):
        reply(MODEL, params, ByteTokenizer(), "göl")
