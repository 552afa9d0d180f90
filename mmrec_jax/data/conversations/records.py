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
not there. Other fields of a message are refused, and of a record those that change what it means.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from mmrec_jax.data.files.records import as_text, no_field
from mmrec_jax.data.kinds.instructions import COMMON_SHAPES, RecordFields
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import ROLES, Conversation, Message

_SHAPES: dict[str, tuple[str, ...]] = {
    "messages": (),
    "conversations": (),
    "instruction": ("input", "output", "history"),
    "prompt": ("completion",),
}
_REFUSED = (  # of a record that does not read them
    *("input", "output", "history", "completion", "label"),
    *("system_prompt", "context", "documents", "functions", "function_call"),
    *("image", "images", "video", "videos", "audio", "audios", "chosen", "rejected"),
    *("weight", "train", "trainable", "mask", "loss", "chat_template_kwargs"),
)
_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "developer": "system"}
_LEARNT = "weight", "train", "trainable"
_EXTRA = "tool_calls", "reasoning_content", "name", "tool_call_id"
_MESSAGE = {"role", "from", "content", "value", *_LEARNT, *_EXTRA}
_FOLLOWERS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}

_Turn = tuple[str, dict[str, Any]]  # where it stands, for errors, and a message as it is written


def read_record(
    record: Mapping[str, Any], location: str, fields: RecordFields = COMMON_SHAPES
) -> Conversation:
    """The conversation in a record, whose name says where the record stands ("file:line").

    Raises:
      UserError: a field is missing, of another type, blank or not understood, or the messages are
        not in turns.
    """
    record = fields.present(record)
    shapes = [name for name in _SHAPES if name in record]
    read = fields if fields.prompt else [name for shape in shapes for name in _SHAPES[shape]]
    for name in _REFUSED:
        if name not in read and record.get(name) not in (None, "", []):
            raise _not_understood(f"{location}: field {name!r}")
    if not fields.prompt and len(shapes) != 1:
        names = ", ".join(sorted(record)) or "none"
        raise UserError(
            f"{location}: a record has the fields of one of these shapes: messages, conversations, "
            "instruction and output, or prompt and completion; the fields of this one are: "
            f"{names}. Name two with config.data.prompt_field and config.data.response_field, or "
            "leave some out with config.data.ignored_fields"
        )
    if fields.prompt:
        turns = _pair(record, location, fields.prompt, fields.response)
    elif shapes == ["instruction"]:
        turns = _instruction(record, location)
    elif shapes == ["prompt"]:
        turns = _pair(record, location, "prompt", "completion")
    else:
        turns = _side(record[shapes[0]], "", f"{location}: {shapes[0]}")
    if record.get("system", "") != "":
        turns.insert(0, (f"{location}: system", {"role": "system", "content": record["system"]}))
    tools = record.get("tools", [])
    tools = _parsed(tools) if isinstance(tools, str) else tools
    if not isinstance(tools, list):
        raise UserError(f"{location}: field 'tools' is no list")
    messages = (_message(turn, where, fields) for where, turn in turns)
    return Conversation(location, _in_turns(messages, location), tuple(tools))


def _instruction(record: Mapping[str, Any], location: str) -> list[_Turn]:
    names = [name for name in ("instruction", "input") if record.get(name, "") != ""]
    texts = [_text(record[name], f"{location}: field {name!r}") for name in names]
    prompt = "\n".join(text for text in texts if text.strip())
    history = record.get("history", [])
    pairs = history if isinstance(history, list) else [history]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise UserError(f"{location}: field 'history' is no list of prompts and responses")
    pairs = [*pairs, [prompt, _required(record, "output", location)]]
    where = f"{location}: instruction, output or history"
    roles = ("user", "assistant")
    return [
        (where, {"role": role, "content": text})
        for pair in pairs
        for role, text in zip(roles, pair, strict=True)
    ]


def _pair(record: Mapping[str, Any], location: str, prompt: str, response: str) -> list[_Turn]:
    asked = _side(_required(record, prompt, location), "user", f"{location}: field {prompt!r}")
    given = _required(record, response, location)
    return [
        *((where, turn | {"train": False}) for where, turn in asked),
        *_side(given, "assistant", f"{location}: field {response!r}"),
    ]


def _side(value: Any, role: str, where: str) -> list[_Turn]:
    """Messages, or one text of this role, if there may be one."""
    if role and isinstance(value, str | bytes):
        return [(where, {"role": role, "content": value})]
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise UserError(f"{where} is no list of messages, which are JSON objects")
    return [(f"{where}[{index}]", turn) for index, turn in enumerate(value)]


def _message(turn: Mapping[str, Any], where: str, fields: RecordFields) -> Message:
    turn = fields.present(turn)
    for name in turn:
        if name not in _MESSAGE:
            raise _not_understood(f"{where}: field {name!r}")
    role = turn.get("role", turn.get("from"))
    role = _ROLES.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise UserError(
            f"{where} has the role {role!r}; it must be one of {', '.join((*ROLES, *_ROLES))}"
        )
    extra = {name: turn[name] for name in _EXTRA if name in turn}
    if "tool_calls" in extra:
        extra["tool_calls"] = _calls(extra["tool_calls"], where)
    # A call needs no text, and a tool may answer nothing.
    may_be_empty = role == "tool" or bool(extra.get("tool_calls"))
    content = turn.get("content", turn.get("value", "" if may_be_empty else None))
    text = _text(content, where)
    if not text.strip() and not may_be_empty:
        raise UserError(f"{where} is blank")
    learnt = {name: turn[name] for name in _LEARNT if name in turn}
    for name, value in learnt.items():
        if value not in (0, 1) or (value and role != "assistant"):
            raise UserError(
                f"{where}: {name} is {value!r}; it must be 0 or 1, false or true, and only what "
                "the assistant says is learnt"
            )
    return Message(role, text, role != "assistant" or all(learnt.values()), extra)


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


def _text(value: Any, where: str) -> str:
    """A text, or the texts of a list of parts, joined."""
    if isinstance(value, list):
        texts = [part.get("text") if isinstance(part, dict) else None for part in value]
        for part, text in zip(value, texts, strict=True):
            if text is None or part.get("type", "text") != "text":
                raise UserError(f"{where} has the part {str(part)[:40]}; only texts are read")
        return "".join(_text(text, where) for text in texts)
    return as_text(value, where)


def _in_turns(messages: Iterable[Message], location: str) -> tuple[Message, ...]:
    """Joins neighbours of one role, and refuses any other order than that of a conversation."""
    turns: list[Message] = []
    for message in messages:
        last = turns[-1] if turns else None
        if last and dataclasses.replace(last, text=message.text) == message and not last.extra:
            turns[-1] = dataclasses.replace(last, text=f"{last.text}\n{message.text}")
            continue
        allowed = _FOLLOWERS[last.role if last else ""]
        if message.role not in allowed:
            follows = f"follows one of the {last.role}" if last else "is the first"
            raise UserError(
                f"{location}: a message of the {message.role} {follows}; a message of the "
                f"{' or the '.join(allowed)} must"
            )
        turns.append(message)
    if not turns or turns[-1].role != "assistant":
        raise UserError(f"{location}: the last message must be the assistant's: that is learnt")
    if not any(each.trained for each in turns if each.role == "assistant"):
        raise UserError(f"{location}: nothing is left to learn: every response has a weight of 0")
    return tuple(turns)


def _required(record: Mapping[str, Any], name: str, location: str) -> Any:
    if name not in record:
        raise no_field(name, record, location)
    return record[name]


def _not_understood(where: str) -> UserError:
    return UserError(
        f"{where} may change what the record means and is not understood; leave it out with "
        "config.data.ignored_fields"
    )
