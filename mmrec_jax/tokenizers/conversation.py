"""What instruction data is made of: messages in turns."""

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]

ROLES: tuple[Role, ...] = get_args(Role)


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    text: str  # brought to Unicode normal form C on construction
    trained: bool = True  # of the assistant's: whether it is learnt, or only read
    # What else the chat template is given: `tool_calls`, `reasoning_content`, ...
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Messages that a model is to continue as the assistant."""

    name: str  # where it comes from, fit for an error message ("pairs.jsonl:17")
    # Perhaps one of the system, then turns of the user, the assistant and tools; the last one is
    # the assistant's, and one of the assistant's at least is trained
    messages: tuple[Message, ...]
    tools: tuple[Any, ...] = ()  # functions that the assistant may call, for the chat template

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
