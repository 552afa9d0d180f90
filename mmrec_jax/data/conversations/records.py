"""One record to a conversation, whichever of the common shapes it has.

| fields | the conversation |
|---|---|
| `messages` or `conversations` | messages: `role` or `from`, `content` or `value` |
| `instruction`, `output`, perhaps `input`, `history` | the input stands under the instruction |
| `prompt`, `completion`, or two that the config names | each is a text, or messages |

With each there may be `system` and `tools`. `content` is a text or a list of parts with texts. A
message with a `weight` of 0 or with `train` or `trainable` false is read and not learnt, as are the
assistant's messages of a prompt; `tool_calls`, `reasoning_content`, `name` and `tool_call_id` go to
the chat template. Messages of one role in a row are joined by a newline. A field that is null is
not there. Other fields of a message are refused, and of a record those that change what it means;
`config.data.ignored_fields` leaves fields out.
"""

import dataclasses
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import ROLES, Conversation, Message, Role

_SHAPES = "messages", "conversations", "instruction", "prompt"
_REFUSED = (
    *("system_prompt", "context", "documents", "functions", "function_call"),
    *("image", "images", "video", "videos", "audio", "audios", "chosen", "rejected"),
    *("weight", "train", "trainable", "mask", "loss", "chat_template_kwargs"),
)
_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "developer": "system"}
_LEARNT = "weight", "train", "trainable"
_EXTRA = "tool_calls", "reasoning_content", "name", "tool_call_id"
_MESSAGE = {"role", "from", "content", "value", *_LEARNT, *_EXTRA}
_FOLLOWERS = {
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}


def read_record(
    record: Mapping[str, Any],
    place: str,
    fields: tuple[str, str] = ("", ""),
    ignored: Collection[str] = (),
) -> Conversation:
    """The conversation in a record.

    Args:
      record: the object.
      place: where it stands ("file:line"), for error messages and as the name.
      fields: which hold the prompt and the response; empty: one of the common shapes.
      ignored: fields of records and messages that are left unread.

    Raises:
      UserError: a field is missing, of another type, blank or not understood, or the messages are
        not in turns.
    """
    record = {k: v for k, v in record.items() if v is not None and k not in ignored}
    for name in _REFUSED:
        if name in record and name not in fields:
            raise _not_understood(f"{place}: field {name!r}")
    shapes = [name for name in _SHAPES if name in record]
    if fields[0]:
        messages = _pair(record, place, fields, ignored)
    elif len(shapes) != 1:
        names = ", ".join(sorted(record)) or "none"
        raise UserError(
            f"{place}: a record has the fields of one of these shapes: messages, conversations, "
            "instruction and output, or prompt and completion; the fields of this one are: "
            f"{names}. Name two with config.data.prompt_field and config.data.response_field, or "
            "leave some out with config.data.ignored_fields"
        )
    elif shapes == ["instruction"]:
        messages = _instruction(record, place)
    elif shapes == ["prompt"]:
        messages = _pair(record, place, ("prompt", "completion"), ignored)
    else:
        messages = _messages(record[shapes[0]], f"{place}: {shapes[0]}", ignored)
    if _filled(record, "system"):
        messages.insert(0, _message("system", record["system"], f"{place}: field 'system'"))
    tools = record.get("tools", [])
    tools = _parsed(tools) if isinstance(tools, str) else tools
    if not isinstance(tools, list):
        raise UserError(f"{place}: field 'tools' is no list")
    return Conversation(place, _in_turns(messages, place), tuple(tools))


def _instruction(record: Mapping[str, Any], place: str) -> list[Message]:
    given = [each for each in ("instruction", "input") if _filled(record, each)]
    if not given:
        raise UserError(f"{place}: field 'instruction' is blank")
    texts = [_text(record[each], f"{place}: field {each!r}") for each in given]
    pairs = [*record.get("history", []), ["\n".join(texts), _required(record, "output", place)]]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise UserError(f"{place}: field 'history' is no list of prompts and responses")
    roles: itertools.cycle[Role] = itertools.cycle(("user", "assistant"))
    where = f"{place}: instruction, output or history"
    return [_message(next(roles), text, where) for pair in pairs for text in pair]


def _pair(
    record: Mapping[str, Any], place: str, fields: tuple[str, str], ignored: Collection[str]
) -> list[Message]:
    sides: list[list[Message]] = []
    roles: tuple[Role, Role] = ("user", "assistant")
    for name, role in zip(fields, roles, strict=True):
        value, where = _required(record, name, place), f"{place}: field {name!r}"
        several = isinstance(value, list)
        sides.append(
            _messages(value, where, ignored) if several else [_message(role, value, where)]
        )
    prompt = (dataclasses.replace(each, trained=each.role != "assistant") for each in sides[0])
    return [*prompt, *sides[1]]


def _messages(values: Any, where: str, ignored: Collection[str]) -> list[Message]:
    if not isinstance(values, list):
        raise UserError(f"{where} is no list of messages")
    messages = []
    for index, value in enumerate(values):
        here = f"{where}[{index}]"
        if not isinstance(value, dict):
            raise UserError(f"{here} is no JSON object")
        turn = {k: v for k, v in value.items() if v is not None and k not in ignored}
        for name in turn:
            if name not in _MESSAGE:
                raise _not_understood(f"{here}: field {name!r}")
        role = turn.get("role", turn.get("from"))
        role = _ROLES.get(role, role) if isinstance(role, str) else role
        if role not in ROLES:
            known = ", ".join((*ROLES, *_ROLES))
            raise UserError(f"{here} has the role {role!r}; it must be one of {known}")
        extra = {name: turn[name] for name in _EXTRA if name in turn}
        if "tool_calls" in extra:
            extra["tool_calls"] = _calls(extra["tool_calls"], here)
        # A call needs no text, and a tool may answer nothing.
        empty = role == "tool" or extra.get("tool_calls")
        content = turn.get("content", turn.get("value", "" if empty else None))
        text = _text(content, f"{here}: content")
        if not text.strip() and not empty:
            raise UserError(f"{here}: content is blank")
        messages.append(Message(role, text, _is_learnt(turn, role, here), extra))
    return messages


def _is_learnt(turn: Mapping[str, Any], role: Role, where: str) -> bool:
    given = {name: turn[name] for name in _LEARNT if name in turn}
    for name, value in given.items():
        if value not in (0, 1):
            raise UserError(f"{where}: {name} is {value!r}; it must be 0 or 1, false or true")
        if value and role != "assistant":
            raise UserError(
                f"{where}: {name} is {value!r}, but only the assistant's text is learnt"
            )
    return all(given.values())


def _calls(calls: Any, where: str) -> list[Any]:
    """With arguments as objects where they are JSON in a string: templates write them as JSON."""
    found = []
    for call in calls if isinstance(calls, list) else [None]:
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
            raise UserError(f"{where}: tool_calls is no list of calls, each with a function")
        function = dict(call["function"])
        if isinstance(function.get("arguments"), str):
            function["arguments"] = _parsed(function["arguments"])
        found.append({**call, "function": function})
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _message(role: Role, value: Any, where: str) -> Message:
    text = _text(value, where)
    if not text.strip():
        raise UserError(f"{where} is blank")
    return Message(role, text)


def _text(value: Any, where: str) -> str:
    """A text, or the texts of a list of parts, joined."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            if not isinstance(part, dict) or part.get("type", "text") != "text":
                kind = part.get("type") if isinstance(part, dict) else part
                raise UserError(f"{where}[{index}] is {kind!r}; only parts of type 'text' are read")
        return "".join(
            _text(part.get("text"), f"{where}[{i}]: text") for i, part in enumerate(value)
        )
    if not isinstance(value, str):
        raise UserError(f"{where} is {json.dumps(value)[:40]}, not a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a surrogate pair") from None
    return value


def _in_turns(messages: Iterable[Message], place: str) -> tuple[Message, ...]:
    """Joins neighbours of one role, and refuses any other order than that of a conversation."""
    turns = list(_joined(messages))
    for before, after in itertools.pairwise([None, *turns]):
        allowed = _FOLLOWERS[before.role] if before else ("system", "user")
        if after and after.role not in allowed:
            where = f"follows one of the {before.role}" if before else "is the first"
            raise UserError(
                f"{place}: a message of the {after.role} {where}; {' or '.join(allowed)} must"
            )
    if not turns or turns[-1].role != "assistant":
        raise UserError(
            f"{place}: the last message must be the assistant's: that is what is learnt"
        )
    if not any(each.trained for each in turns if each.role == "assistant"):
        raise UserError(f"{place}: nothing is left to learn: every response has a weight of 0")
    return tuple(turns)


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    last: Message | None = None
    for message in messages:
        plain = not message.extra and last is not None and not last.extra
        if plain and last and (last.role, last.trained) == (message.role, message.trained):
            last = dataclasses.replace(last, text=f"{last.text}\n{message.text}")
            continue
        if last:
            yield last
        last = message
    if last:
        yield last


def _required(record: Mapping[str, Any], name: str, place: str) -> Any:
    if name not in record:
        names = ", ".join(sorted(record)) or "none"
        raise UserError(f"{place}: there is no field {name!r}; the fields are: {names}")
    return record[name]


def _filled(record: Mapping[str, Any], name: str) -> bool:
    return not (isinstance(value := record.get(name, ""), str) and not value.strip())


def _not_understood(where: str) -> UserError:
    return UserError(
        f"{where} changes what the record means, or may do so, and is not understood; "
        "config.data.ignored_fields leaves it out"
    )
