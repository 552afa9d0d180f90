"""What instruction data is made of: messages in turns."""

import dataclasses
import unicodedata
from typing import Literal, get_args

Role = Literal["system", "user", "assistant"]

ROLES: tuple[Role, ...] = get_args(Role)


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
      role: who says it.
      text: what, brought to Unicode normal form C on construction.
    """

    role: Role
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Messages that a model is to continue as the assistant.

    Attributes:
      name: where it comes from, fit for an error message ("pairs.jsonl:17").
      messages: perhaps one of the system, then one of the user and one of the assistant in turns;
        the last one is the assistant's.
    """

    name: str
    messages: tuple[Message, ...]

    @property
    def prompt(self) -> str:
        """All that is said before the first response: what makes two examples the same task."""
        first = next(i for i, message in enumerate(self.messages) if message.role == "assistant")
        return "\n".join(message.text for message in self.messages[:first])

    @property
    def response(self) -> str:
        """The texts of the assistant, joined: what a model is trained and scored on."""
        return "".join(message.text for message in self.messages if message.role == "assistant")
