"""Conversations as tokens, under a template."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.chat_template import (
    BEGIN,
    END,
    LEARN,
    LEARNT,
    MARKED_TEXT,
    PART,
    ChatTemplate,
    end_of,
    message_of,
)
from mmrec_jax.tokenizers.conversation import Conversation, Message
from mmrec_jax.tokenizers.tokenizer import Tokenizer

PROBE = Message("user", "x"), Message("assistant", "x")
# What a template puts before a response that was written without thinking.
_NO_THOUGHTS = re.compile(r"<think>\s*</think>\s*")
# Parts of a turn that must not get lost.
_SAID = "tool_calls", "reasoning_content"


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of an encoded conversation: one token of the template, or text.

    Attributes:
      ids: int32 [n].
      text: what they spell; empty for a token of the template.
      message: the index of the message that it is the text of; None: the template's own.
      trained: whether the model learns to write it.
    """

    ids: NDArray[np.int32]
    text: str = ""
    message: int | None = None
    trained: bool = False

    @property
    def prompt(self) -> bool:
        """Whether it is the text of a message that is read, which may be shortened."""
        return self.message is not None and not self.trained


class ChatEncoder:
    """A template in the tokens of one tokenizer.

    Names of tokens are tokens in the template's own words alone: texts are encoded apart, and a
    text cannot spell a token of the template, whichever way the tokenizer defines it.

    Attributes:
      stops: the tokens at which a response ends: the end of its turn, and that of a document.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        """Finds the tokens of the template.

        Raises:
          UserError: the template is wrong, ends no response with a token of the tokenizer, or has
            words that the tokenizer cannot spell.
        """
        self._template, self._tokenizer = template, tokenizer
        pieces = map(tokenizer.id_to_piece, tokenizer.control_ids)
        names = "|".join(map(re.escape, sorted(pieces, key=len, reverse=True)))
        self._given = {
            "bos_token": tokenizer.id_to_piece(tokenizer.bos_id),
            "eos_token": tokenizer.id_to_piece(tokenizer.eos_id),
            "names": re.compile(names),
        }
        self._pattern = re.compile(
            f"{MARKED_TEXT.pattern}|(?P<learnt>{LEARNT})|(?P<name>{names})", re.DOTALL
        )
        probe = self._render(PROBE)
        after = probe.rpartition(end_of(1))[2]
        ends = (piece for piece, _ in self._scan(after) if piece is not None and not piece.text)
        end = next(ends, None)
        if end is None:
            raise UserError(
                f"{self._where} ends a response with {after!r}, which is no token of this tokenizer "
                f"({tokenizer.kind}, {tokenizer.vocab_size:,} ids); choose another one with "
                'config.data.template, such as "plain"'
            )
        self._stop = int(end.ids[0])
        self.stops = tuple(dict.fromkeys((self._stop, tokenizer.eos_id)))

    def conversation(self, conversation: Conversation) -> list[Piece]:
        """The pieces from the begin token to the end of the last response that is learnt.

        Raises:
          UserError: the tokenizer cannot spell a text, or the template refuses the conversation,
            leaves out a part of it, or writes its beginning otherwise when more follows.
        """
        messages, tools = conversation.messages, conversation.tools
        whole = self._render(messages, tools)
        self._require_all(conversation, whole)
        pieces: list[Piece] = []
        position = 0
        for index, begin in self._responses(conversation, whole):
            pieces += self._pieces(whole[position:begin])
            trained, position = True, begin
            for piece, end in self._scan(whole[begin:]):
                position = begin + end
                if piece is None:  # the end of a generation block
                    trained = False
                    continue
                if piece.message not in (None, index):
                    raise UserError(f"{self._where} does not end messages[{index}] with a token")
                stops = self._stops(piece)
                pieces.append(dataclasses.replace(piece, trained=trained or stops))
                if stops:
                    break
        return [*self._begin(pieces), *pieces]

    def question(
        self, messages: Sequence[Message], *, continued: bool = False
    ) -> NDArray[np.int32]:
        """What a model reads before it responds: the messages and the assistant's header.

        Args:
          messages: those that the model has not read.
          continued: whether they follow a response that the model wrote, whose end is then read
            first; else they begin a document.

        Raises:
          UserError: as of `conversation`.
        """
        if continued:
            rendered = self._render((*PROBE, *messages), ask=True).partition(end_of(1))[2]
            pieces = self._pieces(rendered)
            # What stands before the end the model has written itself.
            pieces = list(itertools.dropwhile(lambda piece: not self._stops(piece), pieces))
        else:
            pieces = self._pieces(self._render(messages, ask=True))
            pieces = [*self._begin(pieces), *pieces]
        return np.concatenate([piece.ids for piece in pieces])

    def unspelled_bytes(self, piece: Piece) -> int:
        """How many bytes of its text its tokens do not spell."""
        return self._tokenizer.unspelled_bytes(piece.text, piece.ids) if piece.text else 0

    def _render(
        self, messages: Sequence[Message], tools: Sequence[object] = (), ask: bool = False
    ) -> str:
        return self._template.render(messages, tools, ask=ask, **self._given)

    def _stops(self, piece: Piece) -> bool:
        return not piece.text and int(piece.ids[0]) == self._stop

    def _begin(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The begin token, unless the template has written it."""
        bos = self._tokenizer.bos_id
        written = pieces and not pieces[0].text and int(pieces[0].ids[0]) == bos
        return [] if written else [Piece(np.array([bos], np.int32))]

    def _responses(self, conversation: Conversation, whole: str) -> Iterator[tuple[int, int]]:
        """The index of each message that is learnt, and where in `whole` its response begins."""
        messages = conversation.messages
        said = [index for index, each in enumerate(messages) if each.role == "assistant"]
        blocks = [found.end() for found in re.finditer(LEARN, whole)]
        if blocks and len(blocks) != len(said):
            raise UserError(
                f"{self._where} has {len(blocks)} generation blocks for {len(said)} responses"
            )
        for order, index in enumerate(said):
            if not messages[index].trained:
                continue
            if blocks:
                yield index, blocks[order]
                continue
            before = self._render(messages[:index], conversation.tools, ask=True)
            if not whole.startswith(before):
                raise UserError(
                    f"{self._where} writes what stands before messages[{index}] otherwise when a "
                    "response follows, so that it cannot be learnt; set "
                    "config.data.enable_thinking, or choose another one with config.data.template"
                )
            empty = _NO_THOUGHTS.match(whole, len(before))
            yield index, empty.end() if empty else len(before)

    def _require_all(self, conversation: Conversation, whole: str) -> None:
        """Refuses a template that leaves out a text, calls of tools, thoughts or tools."""
        messages, tools = conversation.messages, conversation.tools
        lost = [
            f"messages[{index}], of the {message.role}"
            for index, message in enumerate(messages)
            if message.text.strip() and end_of(index) not in whole
        ]
        for field in _SAID:
            if any(field in each.extra for each in messages):
                others = [
                    dataclasses.replace(
                        each, extra={k: v for k, v in each.extra.items() if k != field}
                    )
                    for each in messages
                ]
                lost += [field] if self._render(others, tools) == whole else []
        lost += ["tools"] if tools and self._render(messages) == whole else []
        if lost:
            raise UserError(f"{self._where} leaves out {', '.join(lost)}")

    def _pieces(self, rendered: str) -> list[Piece]:
        return [piece for piece, _ in self._scan(rendered) if piece is not None]

    def _scan(self, rendered: str) -> Iterator[tuple[Piece | None, int]]:
        """The pieces of marked text and where they end; None: the end of a generation block."""
        position = 0
        for found in self._pattern.finditer(rendered):
            yield from self._words(rendered[position : found.start()], found.start())
            position = found.end()
            if name := found["name"]:
                yield Piece(np.array([self._tokenizer.piece_to_id(name)], np.int32)), position
            elif text := found["text"]:
                yield Piece(self._spell(text), text, message_of(found["number"])), position
            else:
                yield None, position
        yield from self._words(rendered[position:], len(rendered))

    def _words(self, text: str, end: int) -> Iterator[tuple[Piece, int]]:
        text = text.replace(PART, "").replace(LEARN, "")
        if BEGIN in text or END in text:
            raise UserError(f"{self._where} cuts the text of a message, which is not supported")
        if text:
            yield Piece(self._spell(text), text), end

    def _spell(self, text: str) -> NDArray[np.int32]:
        # A template adds no space.
        return self._tokenizer.encode(text, continues=True)

    @property
    def _where(self) -> str:
        return f'the chat template "{self._template.name}"'
