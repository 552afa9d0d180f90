"""OpenAI's own client against the server."""

import pytest

from tests.serve.served import served

openai = pytest.importorskip("openai", reason="the extra parity is not installed")
pytest.importorskip("fastapi", reason="the extra serve is not installed")


@pytest.fixture(scope="module")
def client():
    with served(slots=8, max_waiting=4) as (port, _):
        url = f"http://127.0.0.1:{port}/v1"
        yield openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def test_completions_whole_and_streamed(client):
    options = {"model": "small", "prompt": "göl", "seed": 3, "max_tokens": 20, "logprobs": 2}
    whole = client.completions.create(**options, n=2)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert len(whole.choices[0].logprobs.top_logprobs[0]) == 2
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    parts = client.completions.create(**options, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


def test_a_conversation_whole_and_streamed(client):
    options = {"model": "small", "seed": 3, "max_tokens": 20, "logprobs": True, "top_logprobs": 2}
    messages = [{"role": "user", "content": "merhaba"}]
    whole = client.chat.completions.create(messages=messages, **options)
    said = whole.choices[0].message
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2
    with client.chat.completions.create(messages=messages, stream=True, **options) as parts:
        told = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert told == said.content
    more = [*messages, said.model_dump(), {"role": "user", "content": "sonra"}]
    after = client.chat.completions.create(messages=more, **options)
    assert after.usage.prompt_tokens > whole.usage.prompt_tokens


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt="a")
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="small", prompt="a", frequency_penalty=0.5)
    assert refused.value.param == "frequency_penalty"
    with pytest.raises(openai.RateLimitError):
        client.completions.create(model="small", prompt=[*"abcde"])
    assert [model.id for model in client.models.list()] == ["small"]
