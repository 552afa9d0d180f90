"""Bodies of requests and responses, as OpenAI's API has them.

What a request asks for and this server does not do is refused by its name, unless it is asked for
in the way that changes nothing.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mmrec_jax.serve.engine import MOST_TOP_LOGPROBS, Delta
from mmrec_jax.settings import LARGEST_SEED
from mmrec_jax.tokenizers.conversation import Message
from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Fields that leave the text as it is, whatever they say
_NO_MATTER = "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"
# and those that do so with this value; None does, of every field.
_NEUTRAL: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "best_of": 1,
    "echo": False,
    "suffix": "",
    "tools": [],
    "tool_calls": [],
    "annotations": [],
    "response_format": {"type": "text"},
}


def _listed(value: Any) -> Any:
    """What may be said once or as a list, as a list; ids are one prompt."""
    several = isinstance(value, list) and not (value and isinstance(value[0], int))
    return value if several else [value]


_Stop = Annotated[str, Field(min_length=1, max_length=256)]
_Stops = Annotated[list[_Stop], Field(max_length=4), BeforeValidator(_listed)]
_Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
_Likely = Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_what_changes_nothing(cls, values: Any) -> Any:
        if isinstance(values, dict):
            values = {name: x for name, x in values.items() if x is not None}
            values = {name: x for name, x in values.items() if x != _NEUTRAL.get(name)}
            values = {name: x for name, x in values.items() if name not in _NO_MATTER}
        return values


class StreamOptions(_Body):
    """`stream_options`."""

    include_usage: bool = False


class GenerationBody(_Body):
    """What both kinds of request have; `top_k` and `repetition_penalty` are not OpenAI's."""

    # What the id of a response begins with, and what a response and a part of it are called
    names: ClassVar[tuple[str, str, str]]

    model: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED)
    n: int = Field(1, ge=1)
    stop: _Stops = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    def choice(self, tokenizer: Tokenizer, delta: Delta, chunk: bool) -> dict[str, Any]:
        """What a choice of the response, or of a part of it, has beside its index and its end."""
        raise NotImplementedError


class CompletionBody(GenerationBody):
    """A request to `/v1/completions`."""

    names = "cmpl", "text_completion", "text_completion"

    prompt: Annotated[list[str | _Ids], Field(min_length=1), BeforeValidator(_listed)]
    max_tokens: int = Field(16, ge=1)
    logprobs: _Likely | None = None

    def choice(self, tokenizer: Tokenizer, delta: Delta, chunk: bool) -> dict[str, Any]:
        """See `GenerationBody.choice`."""
        name, scores = tokenizer.id_to_piece, delta.scores
        logprobs = {
            "tokens": [name(score.token) for score in scores],
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [{name(i): logprob for i, logprob in score.top} for score in scores],
            "text_offset": [score.offset for score in scores],
        }
        return {"text": delta.text, "logprobs": logprobs if scores else None}


class TextPart(_Body):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(_Body):
    """A message, such as one of this server's responses."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def message(self) -> Message:
        """As the template sees it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return Message("system" if self.role == "developer" else self.role, text)


class ChatBody(GenerationBody):
    """A request to `/v1/chat/completions`."""

    names = "chatcmpl", "chat.completion", "chat.completion.chunk"

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: _Likely = 0

    def choice(self, tokenizer: Tokenizer, delta: Delta, chunk: bool) -> dict[str, Any]:
        """See `GenerationBody.choice`."""

        def entry(token: int, logprob: float) -> dict[str, Any]:
            return {"token": tokenizer.id_to_piece(token), "logprob": logprob, "bytes": None}

        content = [
            entry(score.token, score.logprob) | {"top_logprobs": [entry(*x) for x in score.top]}
            for score in delta.scores
        ]
        said = {"role": "assistant", "content": delta.text}
        logprobs = {"content": content} if self.logprobs else None
        return {"delta" if chunk else "message": said, "logprobs": logprobs}
