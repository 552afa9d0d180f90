import json
import random

import pytest

from mmrec_jax.inference.chat import reply
from mmrec_jax.inference.generate import generate
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.tokenizers.conversation import Message
from tests.families import small
from tests.serve.served import answer, ask, events, served

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

_TEXT, _CHAT = "/v1/completions", "/v1/chat/completions"
_GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def server():
    with served(slots=4, max_prompt=600, max_tokens=300, max_body_kb=16, max_waiting=3) as found:
        yield found


@pytest.fixture(scope="module")
def port(server):
    return server[0]


@pytest.fixture(scope="module")
def model(server):
    """What `generate` takes."""
    return *small("gru"), server[1].tokenizer


def _said(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def test_texts_are_those_of_generate(port, model):
    prompts = ["göl", "", "  iki  boşluk"]
    expected = [generate(*model, each, max_tokens=40, sampling=_GREEDY)[0] for each in prompts]
    found = answer(port, _TEXT, prompt=prompts, temperature=0, max_tokens=40)
    assert [choice["text"] for choice in found["choices"]] == expected
    drawn = Sampling(temperature=1.5, top_p=0.9, top_k=50, repetition_penalty=1.2)
    expected = generate(*model, "göl", max_tokens=40, sampling=drawn, seed=7, samples=3)
    options = {"top_p": 0.9, "top_k": 50, "repetition_penalty": 1.2, "seed": 7, "n": 3}
    found = answer(port, _TEXT, prompt="göl", temperature=1.5, max_tokens=40, **options)
    assert [choice["text"] for choice in found["choices"]] == expected
    assert found["usage"]["prompt_tokens"] == 5
    ids = [256, *"göl".encode()]
    assert (
        answer(port, _TEXT, prompt=ids, temperature=1.5, max_tokens=40, **options)["choices"]
        == (found["choices"])
    )


def test_a_response_is_that_of_chat(port, model):
    expected = reply(*model, "merhaba", max_tokens=30, sampling=_GREEDY)[0]
    found = answer(port, _CHAT, messages=_said("merhaba"), temperature=0, max_tokens=30)
    choice = found["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": expected}
    assert choice["finish_reason"] == "length"
    parts = [{"type": "text", "text": "mer"}, {"type": "text", "text": "haba"}]
    body = {"messages": [{"role": "user", "content": parts}], "max_completion_tokens": 30}
    assert answer(port, _CHAT, temperature=0, **body)["choices"] == found["choices"]


@pytest.mark.parametrize("path", [_TEXT, _CHAT])
def test_a_stream_is_the_whole_in_parts(port, path):
    asked = {"prompt": "göl"} if path == _TEXT else {"messages": _said("göl")}
    scores = {"logprobs": 3} if path == _TEXT else {"logprobs": True, "top_logprobs": 3}
    body = {**asked, **scores, "n": 2, "seed": 3, "max_tokens": 40, "temperature": 1.0}
    whole = answer(port, path, **body)
    parts = events(port, path, **body, stream_options={"include_usage": True})
    *parts, last = parts
    assert last["usage"] == {**whole["usage"], "prompt_tokens_details": {"cached_tokens": 0}}
    assert last["usage"]["completion_tokens"] > 40
    for choice in whole["choices"]:
        own = [part["choices"][0] for part in parts]
        own = [each for each in own if each["index"] == choice["index"]]
        assert len(own) > 1
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        if path == _TEXT:
            assert "".join(each["text"] for each in own) == choice["text"]
            for name, values in choice["logprobs"].items():
                told = [x for each in own if each["logprobs"] for x in each["logprobs"][name]]
                assert told == values
        else:
            assert "".join(each["delta"]["content"] for each in own) == choice["message"]["content"]
            told = [x for each in own for x in each["logprobs"]["content"]]
            assert told == choice["logprobs"]["content"]
            assert all(len(each["top_logprobs"]) == 3 for each in told)


def test_text_ends_before_a_stop_string(port):
    whole = answer(port, _TEXT, prompt="a", seed=1, max_tokens=60)["choices"][0]["text"]
    for begin, end in ((5, 6), (9, 12), (0, 4)):
        stop = whole[begin:end]
        body = {"prompt": "a", "seed": 1, "max_tokens": 60, "stop": ["never", stop]}
        found = answer(port, _TEXT, **body)
        assert found["choices"][0]["text"] == whole[: whole.index(stop)]
        assert found["choices"][0]["finish_reason"] == "stop"
        text = "".join(each["choices"][0]["text"] for each in events(port, _TEXT, **body))
        assert text == found["choices"][0]["text"]


def test_a_conversation_costs_its_new_tokens(server, model):
    port, service = server
    said, kept = ["merhaba"], None
    options = {"temperature": 0.5, "seed": 11}
    for turn in range(3):
        for most in range(20, 40):  # until the response ends with a whole character
            before = service.engine.counts["prompt_tokens"]
            found = answer(port, _CHAT, messages=_said(*said), max_tokens=most, **options)
            read = service.engine.counts["prompt_tokens"] - before
            text = found["choices"][0]["message"]["content"]
            drawn = {"sampling": Sampling(0.5, top_p=1.0), "seed": 11, "max_tokens": most}
            assert reply(*model, said[-1], state=kept, **drawn) == [text]
            usage = found["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            assert (usage["prompt_tokens"], cached) == (cached + read, kept.length if kept else 0)
            if turn:  # the end of the response, the message, the header of the next response
                assert read == 1 + len(f"Soru:\n{said[-1]}\nCevap:\n".encode())
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                break
        roles = ["user", "assistant"] * (turn + 1)
        messages = [Message(*each) for each in zip(roles, [*said, text], strict=True)]
        index, kept = next(service.conversations.states(messages))
        assert index == len(messages) - 1
        said += [text, "sonra " * (turn + 1)]


def test_the_models_and_its_health_and_metrics_are_told(port):
    assert json.loads(ask(port, "/v1/models")[1])["data"][0]["id"] == "small"
    assert json.loads(ask(port, "/v1/models/small")[1])["object"] == "model"
    assert ask(port, "/health") == (200, '{"status":"ok"}')
    answer(port, _TEXT, prompt="a", model="small", max_tokens=1)
    lines = dict(line.rsplit(" ", 1) for line in ask(port, "/metrics")[1].splitlines())
    assert float(lines["mmrec_requests_total"]) >= 1
    assert float(lines["mmrec_generated_tokens_total"]) >= 1
    assert lines["mmrec_slots"] == "4"
    ask(port, _TEXT, {"model": "other", "prompt": "a"})
    assert "mmrec_refused_requests_404_total 1" in ask(port, "/metrics")[1]


_REFUSED = [
    (_TEXT, {}, 400, "prompt"),
    (_TEXT, {"prompt": "a", "temperature": -1}, 400, "temperature"),
    (_TEXT, {"prompt": "a", "temperature": "1"}, 400, "temperature"),
    (_TEXT, {"prompt": "a", "top_p": 0}, 400, "top_p"),
    (_TEXT, {"prompt": "a", "max_tokens": 301}, 400, "max_tokens"),
    (_TEXT, {"prompt": "a", "max_tokens": 0}, 400, "max_tokens"),
    (_TEXT, {"prompt": "a" * 600}, 400, "prompt"),
    (_TEXT, {"prompt": [258]}, 400, "id"),
    (_TEXT, {"prompt": []}, 400, "prompt"),
    (_TEXT, {"prompt": ["a", "b", "c"], "n": 2}, 400, "n"),
    (_TEXT, {"prompt": "a", "n": 5}, 400, "n"),
    (_TEXT, {"prompt": "a", "stop": ""}, 400, "stop"),
    (_TEXT, {"prompt": "a", "logprobs": 21}, 400, "logprobs"),
    (_TEXT, {"prompt": "a", "frequency_penalty": 0.5}, 400, "frequency_penalty"),
    (_TEXT, {"prompt": "a", "echo": True}, 400, "echo"),
    (_TEXT, {"prompt": "\ud800"}, 400, "surrogate"),
    (_TEXT, {"prompt": "a", "model": "../other"}, 404, "small"),
    (_TEXT, b"{", 400, "JSON"),
    (_TEXT, b"[" * 10_000, 400, ""),
    (_TEXT, b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", 400, ""),
    (_CHAT, {"messages": []}, 400, "messages"),
    (_CHAT, {"messages": _said("a", "b")}, 400, "messages"),
    (_CHAT, {"messages": [{"role": "tool", "content": "a"}]}, 400, "role"),
    (_CHAT, {"messages": _said("\ufdd0")}, 400, "noncharacter"),
    (_CHAT, {"messages": _said("a"), "tools": [{}]}, 400, "tools"),
    ("/v1/nothing", {}, 404, ""),
    ("/health", {}, 405, ""),
]


@pytest.mark.parametrize(("path", "body", "status", "named"), _REFUSED)
def test_a_request_that_is_wrong_is_refused_in_one_line(port, path, body, status, named):
    _assert_error(ask(port, path, body), {status}, named)


def test_a_body_that_is_too_large_is_not_read(port):
    large = {"prompt": "a" * 20_000}
    _assert_error(ask(port, _TEXT, large), {413}, "16,384 bytes")
    _assert_error(ask(port, "/v1/nothing", large), {404})
    parts = iter([b"a" * 10_000] * 2)  # of which no header says how many bytes they are
    _assert_error(ask(port, _TEXT, parts), {413}, "16,384 bytes")


def _assert_error(found, statuses, named=""):
    status, text = found
    error = json.loads(text)["error"]
    assert status in statuses, text
    assert named in error["message"]
    assert error["message"]
    assert "\n" not in error["message"]
    assert "Traceback" not in text
    assert error.keys() == {"message", "type", "param", "code"}


def test_what_changes_nothing_may_be_said(port):
    body = {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "user": "me"}
    body |= {"best_of": None, "tools": [], "response_format": {"type": "text"}, "seed": 2}
    expected = answer(port, _TEXT, prompt="a", seed=2)["choices"]
    assert answer(port, _TEXT, prompt="a", **body)["choices"] == expected
    message = {"role": "assistant", "content": "b", "refusal": None, "annotations": []}
    said = [*_said("a"), message, *_said("c")]
    answer(port, _CHAT, messages=said, max_tokens=1)


def test_more_than_may_wait_are_refused_and_none_is_half_queued(port):
    status, text = ask(port, _TEXT, {"prompt": list("abcd"), "max_tokens": 1})
    assert status == 429
    assert json.loads(text)["error"]["type"] == "rate_limit_error"
    assert len(answer(port, _TEXT, prompt=list("abc"), max_tokens=1)["choices"]) == 3


_VALUES = [
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, -(10**400), 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), "", "a", "\x00", "ğ" * 50, "\ud83d", "\ufdd3", "<|im_end|>"),
    *([], [[]], [0], [257], [None], ["a", 1], {}, {"a": {}}, {"type": "text"}, {"": "\udfff"}),
]
_FIELDS = (
    *("prompt", "messages", "n", "stop", "seed", "max_tokens", "temperature", "top_p", "top_k"),
    *("logprobs", "stream", "stream_options", "top_logprobs", "echo", "model", "role", "tools"),
)


def _wrong(rng):
    """A body that may be anything, valid ones among them."""
    if rng.random() < 0.1:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
    body = {"prompt": "a"} if rng.random() < 0.5 else {"messages": _said("a")}
    value = rng.choice(_VALUES)
    for _ in range(rng.randrange(4)):
        value = rng.choice(_VALUES)
        while rng.random() < 0.2:
            value = rng.choice([[value], {rng.choice(_FIELDS): value}, [value] * 3])
        body[rng.choice(_FIELDS)] = value
    if rng.random() < 0.2:
        body["messages"] = [{"role": rng.choice(["user", "system", "x", 1]), "content": value}]
    text = json.dumps(body).encode()
    return text[: rng.randrange(len(text))] if rng.random() < 0.1 else text


def _fuzz(port, count):
    rng = random.Random(0)
    statuses = []
    for _ in range(count):
        found = ask(port, rng.choice([_TEXT, _CHAT]), _wrong(rng))
        statuses.append(found[0])
        if found[0] != 200:
            _assert_error(found, {400, 404, 413, 422})
    assert {200, 400} <= set(statuses)
    assert ask(port, "/health")[0] == 200


def test_malformed_requests_neither_end_the_server_nor_tell_of_its_inside(port):
    _fuzz(port, 60)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_thousand_malformed_requests(port):
    _fuzz(port, 10_000)
