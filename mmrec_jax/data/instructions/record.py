"""One JSON object to a conversation, whichever of the common shapes it has.

| fields | the conversation |
|---|---|
| the two that the config names | one prompt, one response |
| `messages`: a list of `{"role", "content"}` | as it stands; the first may be `system` |
| `instruction`, `output`, perhaps `input` and `system` | the input stands under the instruction |
| `prompt`, `completion` | one prompt, one response |

Other fields are ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmrec_jax.data.files.records import json_type, string_field
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import ROLES, Conversation, Message, Role


def read_record(
    record: Mapping[str, Any], place: str, fields: tuple[str, str] = ("", "")
) -> Conversation:
    """The conversation in a JSON object.

    Args:
      record: the object.
      place: where it stands ("file:line"), for error messages and as the name.
      fields: which hold the prompt and the response; empty: one of the other shapes.

    Raises:
      UserError: a field is missing, of another type, or blank; the shape is none of the table, or
        the messages are not in turns.
    """
    if fields[0]:
        prompt = _text(record, fields[0], place, "config.data.prompt_field")
        response = _text(record, fields[1], place, "config.data.response_field")
        return _pair(place, prompt, response)
    if "messages" in record:
        return Conversation(place, _messages(record["messages"], place))
    if "instruction" in record:
        prompt = _text(record, "instruction", place)
        if record.get("input") is not None and string_field(record, "input", place).strip():
            prompt = f"{prompt}\n{record['input']}"
        system = _text(record, "system", place) if record.get("system") else ""
        return _pair(place, prompt, _text(record, "output", place), system)
    if "prompt" in record:
        return _pair(place, _text(record, "prompt", place), _text(record, "completion", place))
    names = ", ".join(sorted(record)) or "none"
    raise UserError(
        f"{place}: this line has no known shape: messages, or instruction and output, or prompt "
        f"and completion; its fields are: {names}. Name two of them with "
        "config.data.prompt_field and config.data.response_field"
    )


def _pair(place: str, prompt: str, response: str, system: str = "") -> Conversation:
    first = (Message("system", system),) if system else ()
    return Conversation(place, (*first, Message("user", prompt), Message("assistant", response)))


def _messages(values: Any, place: str) -> tuple[Message, ...]:
    if not isinstance(values, list):
        raise UserError(f"{place}: field 'messages' is a {json_type(values)}, not a list")
    messages = []
    for index, value in enumerate(values):
        where = f"{place}: messages[{index}]"
        if not isinstance(value, dict):
            raise UserError(f"{where} is a {json_type(value)}, not a JSON object")
        role = string_field(value, "role", where)
        if role not in ROLES:
            raise UserError(f"{where} has the role {role!r}; it must be one of {', '.join(ROLES)}")
        messages.append(Message(role, _text(value, "content", where)))
    _require_turns([message.role for message in messages], place)
    return tuple(messages)


def _text(record: Mapping[str, Any], field: str, place: str, option: str = "") -> str:
    text = string_field(record, field, place, option)
    if not text.strip():
        raise UserError(f"{place}: field {field!r} is blank")
    return text


def _require_turns(roles: Sequence[Role], place: str) -> None:
    first = 1 if roles and roles[0] == "system" else 0
    for index, role in enumerate(roles[first:], start=first):
        expected = ("user", "assistant")[(index - first) % 2]
        if role != expected:
            raise UserError(
                f"{place}: messages[{index}] has the role {role!r}; it must be {expected!r} here: "
                "a system message may come first, then user and assistant speak in turns"
            )
    if len(roles) - first < 2 or roles[-1] != "assistant":
        raise UserError(
            f"{place}: the last message must be the assistant's: that is what is learnt"
        )
