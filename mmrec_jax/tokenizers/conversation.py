"""What instruction data is made of: messages in turns."""

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]

ROLES: tuple[Role, ...] = get_args(Role)


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
      role: who says it.
      text: what, brought to Unicode normal form C on construction.
      trained: of the assistant's: whether it is learnt, or only read.
      extra: what else the chat template is given: `tool_calls`, `reasoning_content`, ...
    """

    role: Role
    text: str
    trained: bool = True
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Messages that a model is to continue as the assistant.

    Attributes:
      name: where it comes from, fit for an error message ("pairs.jsonl:17").
      messages: perhaps one of the system, then turns of the user, the assistant and tools; the last
        one is the assistant's, and one of the assistant's at least is trained.
      tools: descriptions of the functions that the assistant may call, for the chat template.
    """

    name: str
    messages: tuple[Message, ...]
    tools: tuple[Any, ...] = ()

    @property
    def prompt(self) -> str:
        """All that is said before the first response: what makes two examples the same task."""
        first = next(i for i, message in enumerate(self.messages) if message.role == "assistant")
        return "\n".join(message.text for message in self.messages[:first])

    @property
    def response(self) -> str:
        """The texts of the assistant that are learnt, joined."""
        learnt = [each for each in self.messages if each.role == "assistant" and each.trained]
        return "".join(message.text for message in learnt)
