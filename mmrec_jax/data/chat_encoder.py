"""Conversations as tokens, under a template."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.chat_template import ChatTemplate, Token
from mmrec_jax.tokenizers.conversation import ROLES, Message
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of an encoded conversation.

    Attributes:
      ids: int32 [n].
      response: whether these are tokens that the assistant writes, the end of its turn included.
      prompt: whether it is the text of another one's message, which may be shortened.
    """

    ids: NDArray[np.int32]
    response: bool = False
    prompt: bool = False


class ChatEncoder:
    """A template in the tokens of one tokenizer.

    Attributes:
      stops: the tokens at which a response ends: the end of its turn, and that of a document.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        """Spells the template.

        Raises:
          UserError: the tokenizer lacks a token of the template, or cannot spell a text of it.
        """
        self._template = template
        self._tokenizer = tokenizer
        self._before = {role: self._spell(template.frame(role).before) for role in ROLES}
        self._after = {role: self._spell(template.frame(role).after) for role in ROLES}
        end = int(self._after["assistant"][0])
        self.stops = tuple(dict.fromkeys((end, tokenizer.eos_id)))

    def conversation(self, messages: Sequence[Message]) -> list[Piece]:
        """The pieces of a whole conversation, from the begin token to the end of the last turn.

        Raises:
          UserError: the tokenizer cannot spell a message.
        """
        pieces = [Piece(np.array([self._tokenizer.bos_id], np.int32))]
        for message in messages:
            pieces += self._turn(message)
        if messages[-1].role == "assistant":
            pieces.pop()  # nothing follows the end of the last turn
        return pieces

    def question(
        self, messages: Sequence[Message], *, continued: bool = False
    ) -> NDArray[np.int32]:
        """What a model reads before it responds: the messages and the assistant's header.

        Args:
          messages: those that the model has not read.
          continued: whether they follow a response that the model wrote, whose end is then read
            first; else they begin a document.

        Raises:
          UserError: the tokenizer cannot spell a message.
        """
        begin = self._after["assistant"] if continued else [self._tokenizer.bos_id]
        parts = [np.asarray(begin, np.int32)]
        for message in messages:
            parts += [piece.ids for piece in self._turn(message)]
        return np.concatenate([*parts, self._before["assistant"]])

    def _turn(self, message: Message) -> list[Piece]:
        role, text = message.role, self._tokenizer.encode(message.text)
        before, after = Piece(self._before[role]), self._after[role]
        if role != "assistant":
            return [before, Piece(text, prompt=True), Piece(after)]
        return [before, Piece(np.append(text, after[:1]), response=True), Piece(after[1:])]

    def _spell(self, items: Iterable[str | Token]) -> NDArray[np.int32]:
        parts = [np.zeros(0, np.int32)]
        for item in items:
            if isinstance(item, str):
                try:
                    parts.append(self._tokenizer.encode(item))
                except UserError as error:
                    raise UserError(f"{self._where} cannot be spelled: {error}") from None
            else:
                parts.append(np.array([self._id(item)], np.int32))
        return np.concatenate(parts)

    def _id(self, token: Token) -> int:
        if token.name is None:
            return self._tokenizer.eos_id
        found = self._tokenizer.piece_to_id(token.name)
        if found is None:
            raise UserError(
                f"{self._where} needs the token {token.name!r}, which this tokenizer "
                f"({self._tokenizer.kind}, {self._tokenizer.vocab_size:,} ids) does not have; "
                'choose another one with config.data.template, such as "plain"'
            )
        return found

    @property
    def _where(self) -> str:
        return f'the chat template "{self._template.name}"'
