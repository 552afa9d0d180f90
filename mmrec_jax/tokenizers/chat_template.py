"""How a conversation is written for a model: a Jinja template, as published tokenizers bring one.

A template sees `messages` (each with `role`, `content` and what else the turn has), `tools`,
`bos_token`, `eos_token` and `add_generation_prompt`; a `{% generation %}` block may say what of a
turn is learnt. In what it writes, the texts of messages stand between marks, so that they can be
told from its own words whatever both are. Marks are noncharacters, which no text may hold.
"""

import dataclasses
import datetime
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.tokenizers.conversation import Message

TEMPLATE_FILE = "chat_template.jinja"
FORMER_FILE = "chat_template.json"
CONFIG_FILE = "tokenizer_config.json"  # what `transformers` keeps beside a tokenizer.json

# A text begins; it ends, and a character follows that numbers its message; what is learnt begins
# and ends; a name is parted that would else be taken for a token.
BEGIN, END, LEARN, LEARNT, PART = map(chr, range(0xFDD0, 0xFDD5))
MARKED_TEXT = re.compile(f"{BEGIN}(?P<text>[^{END}]*){END}(?P<number>.)", re.DOTALL)
_NONCHARACTER = re.compile("[\ufdd0-\ufdef]")
_FIRST_MESSAGE = 0xF0000
# Were it the real one, a run could not be resumed tomorrow.
_DATE = datetime.datetime(2024, 7, 26)


def end_of(message: int) -> str:
    """What stands behind the text of the message of this index."""
    return END + chr(_FIRST_MESSAGE + message)


def message_of(number: str) -> int:
    """The index of the message of the character behind `END`."""
    return ord(number) - _FIRST_MESSAGE


class _Text(str):
    """The text of a message between its marks, which a template does not see.

    It may ask how the text begins and ends, how long it is and what it equals, and strip and split
    it.
    """

    text: str
    message: int

    def __new__(cls, text: str, message: int) -> "_Text":
        # An empty text has no marks: templates ask whether there is one.
        made = super().__new__(cls, f"{BEGIN}{text}{end_of(message)}" if text else "")
        made.text, made.message = text, message
        return made

    def __eq__(self, other: object) -> bool:
        return self.text == other

    def __ne__(self, other: object) -> bool:  # str has one of its own
        return self.text != other

    def __hash__(self) -> int:
        return hash(self.text)

    def __len__(self) -> int:
        return len(self.text)

    def startswith(self, *arguments: Any) -> bool:
        return self.text.startswith(*arguments)

    def endswith(self, *arguments: Any) -> bool:
        return self.text.endswith(*arguments)

    def strip(self, chars: str | None = None, /) -> "_Text":
        return _Text(self.text.strip(chars), self.message)

    def lstrip(self, chars: str | None = None, /) -> "_Text":
        return _Text(self.text.lstrip(chars), self.message)

    def rstrip(self, chars: str | None = None, /) -> "_Text":
        return _Text(self.text.rstrip(chars), self.message)

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return [_Text(part, self.message) for part in self.text.split(sep, maxsplit)]


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template under a name."""

    name: str
    source: str

    def with_thinking(self, thinking: bool) -> "ChatTemplate":
        """With `enable_thinking` set where the source asks for it, so that it is stored."""
        on, off = (f"{{%- set enable_thinking = {value} %}}\n" for value in ("true", "false"))
        source = self.source.removeprefix(on).removeprefix(off)
        if "enable_thinking" not in source:
            return self
        return dataclasses.replace(self, source=(on if thinking else off) + source)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] = (),
        *,
        ask: bool = False,
        bos_token: str = "",
        eos_token: str = "",
        names: re.Pattern[str] | None = None,
    ) -> str:
        """The conversation, with marks; with `ask` the header of the assistant's turn follows.

        Outside of the marks only the template itself writes `names`, those of tokens.

        Raises:
          UserError: the template is wrong or refuses the messages, or a text holds a mark.
        """
        turns = [
            {
                **_guarded(each.extra, names),
                "role": each.role,
                "content": _Text(_guarded(each.text, None), index),
            }
            for index, each in enumerate(messages)
        ]
        try:
            return _compiled(self.source).render(
                messages=turns,
                tools=_guarded(tools, names) or None,
                add_generation_prompt=ask,
                bos_token=bos_token,
                eos_token=eos_token,
            )
        except Exception as error:  # whatever a program of the user's may raise
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise UserError(
                f'the chat template "{self.name}" refuses it ({reason}); another one is chosen '
                "with config.data.template"
            ) from None


class _Generation(Extension):
    """`{% generation %}` ... `{% endgeneration %}`: marks around what stands between them."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        begin, end = (
            nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in LEARN + LEARNT
        )
        return [begin, *body, end]


@functools.lru_cache
def _compiled(source: str) -> jinja2.Template:
    extensions = [_Generation, "jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=extensions
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _DATE.strftime
    return environment.from_string(source)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _guarded(value: Any, names: re.Pattern[str] | None) -> Any:
    """The value, with a mark in each of the names in its strings, which hold no other marks."""
    if isinstance(value, str):
        if found := _NONCHARACTER.search(value):
            raise UserError(f"a text holds the noncharacter U+{ord(found[0]):04X}; take it out")
        return names.sub(lambda name: name[0][0] + PART + name[0][1:], value) if names else value
    if isinstance(value, Mapping):
        return {_guarded(key, names): _guarded(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_guarded(item, names) for item in value]
    return value


def _framed(name: str, frames: Mapping[str, Sequence[Sequence[str | None]]]) -> ChatTemplate:
    """Texts before and after each message, by roles; None is the token that ends a document."""

    def jinja(words: Sequence[str | None]) -> str:
        literals = (
            json.dumps(each, ensure_ascii=False) if each is not None else "eos_token"
            for each in words
        )
        return "".join(f"{{{{ {each} }}}}" for each in literals)

    turns = "{%- if false %}\n"
    for role, (before, after) in frames.items():
        turns += f"{{%- elif message.role == '{role}' %}}\n"
        turns += jinja(before) + "{{ message.content }}" + jinja(after) + "\n"
    return ChatTemplate(
        name,
        f"{{%- for message in messages %}}\n{turns}{{%- else %}}\n"
        "{{ raise_exception('there is no role ' + message.role) }}\n{%- endif %}\n{%- endfor %}\n"
        f"{{%- if add_generation_prompt %}}\n{jinja(frames['assistant'][0])}\n{{%- endif %}}\n",
    )


PLAIN = _framed(
    "plain",
    {
        "system": ([], ["\n"]),
        "user": (["Soru:\n"], ["\n"]),
        "assistant": (["Cevap:\n"], [None]),
    },
)
CHATML_TOKENS = "<|im_start|>", "<|im_end|>"
CHATML = _framed(
    "chatml",
    {
        role: ([f"<|im_start|>{role}\n"], ["<|im_end|>\n"])
        for role in ("system", "user", "assistant")
    },
)
BUILT_IN = {template.name: template for template in (PLAIN, CHATML)}
_KNOWN = {template.source: template for template in BUILT_IN.values()}


def read_template(path: Path) -> ChatTemplate:
    """The template in a file: Jinja, a `tokenizer_config.json`, or the JSON of version 0.1.

    Raises:
      UserError: the file cannot be read, or holds no template.
    """
    if path.suffix != ".json":
        try:
            jinja = path.read_text("utf-8")
            return _KNOWN.get(jinja) or ChatTemplate(path.stem, jinja)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "it is not UTF-8")
            raise UserError(f"{path}: this chat template cannot be read: {reason}") from None
    tree = read_json_object(path, f"{path}: this chat template")
    try:
        source = tree.get("chat_template")
        if isinstance(source, list):  # several under names
            source = {each["name"]: each["template"] for each in source}["default"]
        if isinstance(source, str):
            return _KNOWN.get(source) or ChatTemplate(path.stem, source)
        frames = {
            role: [
                [item if isinstance(item, str) else item["token"] for item in tree[role][side]]
                for side in ("before", "after")
            ]
            for role in ("system", "user", "assistant")
        }
        return _framed(str(tree.get("name", path.stem)), frames)
    except (KeyError, TypeError):
        raise UserError(f"{path}: it has no chat_template, or none named default") from None


def find_template(folder: Path) -> ChatTemplate | None:
    """The template in a tokenizer's folder, if there is one; errors as of `read_template`."""
    for name in (TEMPLATE_FILE, FORMER_FILE):
        if (folder / name).is_file():
            return read_template(folder / name)
    config = folder / CONFIG_FILE
    if config.is_file() and "chat_template" in read_json_object(config):
        return read_template(config)
    return None
