"""How a conversation is written for a model: what stands before and after each message.

A template is a JSON file, kept in the folder of the tokenizer:

{"name": "plain",
 "system": {"before": [], "after": ["\\n"]},
 "user": {"before": ["Soru:\\n"], "after": ["\\n"]},
 "assistant": {"before": ["Cevap:\\n"], "after": [{"token": null}]}}

A string is text, spelled like any other; `{"token": "<|im_end|>"}` is one token of that name, which
no text can spell; `{"token": null}` is the tokenizer's end of a document. The first item after the
assistant's message is the end-of-turn token, where generation stops.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.tokenizers.conversation import ROLES, Role

TEMPLATE_FILE = "chat_template.json"


@dataclasses.dataclass(frozen=True)
class Token:
    """One token by its name; None: the one that ends a document."""

    name: str | None


@dataclasses.dataclass(frozen=True)
class Frame:
    """What stands around the messages of a role: texts and tokens."""

    before: tuple[str | Token, ...]
    after: tuple[str | Token, ...]


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """The frame of each role, under a name."""

    name: str
    system: Frame
    user: Frame
    assistant: Frame

    def frame(self, role: Role) -> Frame:
        """What stands around the messages of `role`."""
        return {"system": self.system, "user": self.user, "assistant": self.assistant}[role]

    @property
    def texts(self) -> list[str]:
        """All texts in it, which a tokenizer must be able to spell."""
        return [item for item in self._items if isinstance(item, str)]

    @property
    def tokens(self) -> list[str]:
        """The names of all tokens in it, which a tokenizer must have."""
        return [item.name for item in self._items if isinstance(item, Token) and item.name]

    @property
    def _items(self) -> list[str | Token]:
        frames = [self.frame(role) for role in ROLES]
        return [item for frame in frames for item in (*frame.before, *frame.after)]

    def to_json(self, tokenizer: str) -> bytes:
        """The stored form, with the fingerprint of the tokenizer that it is kept with."""
        tree: dict[str, Any] = {"name": self.name}
        for role in ROLES:
            frame = self.frame(role)
            tree[role] = {
                place: [_plain(item) for item in getattr(frame, place)]
                for place in ("before", "after")
            }
        tree["tokenizer"] = tokenizer
        return (json.dumps(tree, ensure_ascii=False, indent=2) + "\n").encode()


PLAIN = ChatTemplate(
    name="plain",
    system=Frame((), ("\n",)),
    user=Frame(("Soru:\n",), ("\n",)),
    assistant=Frame(("Cevap:\n",), (Token(None),)),
)
_START, _END = Token("<|im_start|>"), Token("<|im_end|>")
CHATML = ChatTemplate(
    name="chatml",
    system=Frame((_START, "system\n"), (_END, "\n")),
    user=Frame((_START, "user\n"), (_END, "\n")),
    assistant=Frame((_START, "assistant\n"), (_END, "\n")),
)
BUILT_IN = {template.name: template for template in (PLAIN, CHATML)}


def read_template(path: Path, tokenizer: str | None) -> ChatTemplate:
    """The template in a file.

    Args:
      path: the file.
      tokenizer: the fingerprint of the tokenizer that it is read for; a file that was stored with
        another one is refused. None: not known yet.

    Raises:
      UserError: the file cannot be read, is no template, or belongs to another tokenizer.
    """
    tree = read_json_object(path, f"{path}: this chat template")
    known = {"name", "tokenizer", *ROLES}
    if unknown := sorted(tree.keys() - known):
        raise UserError(f"{path}: {unknown[0]!r} is no field of a chat template")
    stored = tree.get("tokenizer")
    if None not in (stored, tokenizer) and stored != tokenizer:
        raise UserError(
            f"{path}: this chat template belongs to another tokenizer ({str(stored)[:12]} in the "
            f"file, {str(tokenizer)[:12]} here)"
        )
    frames = {role: _frame(tree, role, path) for role in ROLES}
    end = frames["assistant"].after[:1]
    if not end or isinstance(end[0], str):
        raise UserError(
            f'{path}: assistant.after must begin with a token, such as {{"token": null}}: '
            "that is where a response ends"
        )
    return ChatTemplate(str(tree.get("name", path.stem)), **frames)


def _frame(tree: dict[str, Any], role: Role, path: Path) -> Frame:
    sides = tree.get(role)
    if not isinstance(sides, dict) or sides.keys() != {"before", "after"}:
        raise UserError(f"{path}: {role} must have the two lists before and after")
    return Frame(*(_items(sides[side], f"{path}: {role}.{side}") for side in ("before", "after")))


def _items(values: Any, where: str) -> tuple[str | Token, ...]:
    if not isinstance(values, list):
        raise UserError(f"{where} is not a list")
    items: list[str | Token] = []
    for value in values:
        if isinstance(value, str):
            items.append(value)
        elif (
            isinstance(value, dict)
            and value.keys() == {"token"}
            and isinstance(value["token"], str | None)
        ):
            items.append(Token(value["token"]))
        else:
            raise UserError(f'{where}: {value!r} is neither a string nor {{"token": NAME}}')
    return tuple(items)


def _plain(item: str | Token) -> str | dict[str, str | None]:
    return item if isinstance(item, str) else {"token": item.name}
