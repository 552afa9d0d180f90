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
# What some templates put before a response that was written without thinking.
_NO_THOUGHTS = re.compile(r"<think>\s*</think>\s*")


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of an encoded conversation: text, or one token of the template."""

    ids: NDArray[np.int32]  # [n]
    text: str = ""  # what they spell; empty for a token of the template
    message: int | None = None  # which message it is the text of; None: the template's own
    trained: bool = False  # whether the model learns to write it


class ChatEncoder:
    """A template in the tokens of one tokenizer.

    The template's own words alone are searched for the names of tokens; texts are encoded apart
    from them, and a tokenizer spells what looks like such a name (`Tokenizer.control_ids`).

    Attributes:
      tokenizer: the one given.
      stops: the tokens at which a response ends: the end of its turn, and that of a document.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        """Finds the token that ends a turn.

        Raises:
          UserError: the template is wrong, or ends no response with a token of the tokenizer.
        """
        self.tokenizer, self._template = tokenizer, template
        self._where = f'the chat template "{template.name}"'
        controls = map(tokenizer.id_to_piece, tokenizer.control_ids)
        names = "|".join(map(re.escape, sorted(controls, key=len, reverse=True)))
        self._names = re.compile(names)
        self._parts = re.compile(
            f"{MARKED_TEXT.pattern}|(?P<learnt>{LEARNT})|(?P<name>{names})", re.DOTALL
        )
        after = self._render(PROBE).rpartition(end_of(1))[2]
        ends = [int(span.ids[0]) for span in self._spans(after) if not span.text]
        if not ends:
            raise UserError(
                f"{self._where} ends a response with {after!r}, which is no token of this "
                f"tokenizer ({tokenizer.kind}, {tokenizer.vocab_size:,} ids); choose another one "
                'with config.data.template, such as "plain"'
            )
        self.stops = tuple(dict.fromkeys((ends[0], tokenizer.eos_id)))

    def conversation(self, conversation: Conversation) -> list[Span]:
        """The spans from the begin token to the end of the last response that is learnt.

        Raises:
          UserError: the tokenizer cannot spell a text, or the template refuses the conversation,
            leaves out a part of it, or writes its beginning otherwise when more follows.
        """
        whole = self._render(conversation.messages, conversation.tools)
        self._require_all(conversation, whole)
        spans: list[Span] = []
        position = 0
        for index, begin in self._responses(conversation, whole):
            spans += self._spans(whole[position:begin])
            trained = True
            for span, end in self._scan(whole[begin:]):
                position = begin + end
                if span is None:
                    trained = False
                    continue
                if span.message not in (None, index):
                    raise UserError(f"{self._where} does not end messages[{index}] with a token")
                stops = self._stops(span)
                spans.append(dataclasses.replace(span, trained=trained or stops))
                if stops:
                    break
        return self._begun(spans)

    def question(
        self, messages: Sequence[Message], *, continued: bool = False
    ) -> NDArray[np.int32]:
        """What a model reads before it responds: the messages and the assistant's header.

        Args:
          messages: those that the model has not read.
          continued: whether they follow a response that the model wrote, whose end is then read
            first; else they begin a document.

        Raises as `conversation`.
        """
        if continued:
            rendered = self._render((*PROBE, *messages), ask=True).partition(end_of(1))[2]
            # What stands before the end the model has written itself.
            spans = self._spans(rendered)
            spans = list(itertools.dropwhile(lambda span: not self._stops(span), spans))
        else:
            spans = self._begun(self._spans(self._render(messages, ask=True)))
        return np.concatenate([span.ids for span in spans])

    def after_response(self, messages: Sequence[Message], index: int) -> NDArray[np.int32] | None:
        """What a model reads that has read `question(messages[:index])` and written the next one.

        None where the template writes the conversation up to there otherwise now that more
        follows, so that it has to be read anew. Raises as `conversation`.
        """
        before, whole = (
            self._render(part, ask=True).replace(LEARN, "").replace(LEARNT, "")
            for part in (messages[:index], messages)
        )
        read = f"{before}{BEGIN}{messages[index].text}{end_of(index)}"
        if not whole.startswith(read):
            return None
        return np.concatenate([span.ids for span in self._spans(whole[len(read) :])])

    def _render(
        self, messages: Sequence[Message], tools: Sequence[object] = (), ask: bool = False
    ) -> str:
        bos, eos = map(self.tokenizer.id_to_piece, (self.tokenizer.bos_id, self.tokenizer.eos_id))
        return self._template.render(
            messages, tools, ask=ask, bos_token=bos, eos_token=eos, names=self._names
        )

    def _begun(self, spans: list[Span]) -> list[Span]:
        """With the begin token, unless the template writes it, or a token where there is none."""
        bos, eos = self.tokenizer.bos_id, self.tokenizer.eos_id
        first = int(spans[0].ids[0]) if spans and not spans[0].text else None
        written = first == bos or (first is not None and bos == eos)
        return spans if written else [Span(np.array([bos], np.int32)), *spans]

    def _stops(self, span: Span) -> bool:
        return not span.text and int(span.ids[0]) == self.stops[0]

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
        """Refuses a template that leaves something out."""
        messages, tools = conversation.messages, conversation.tools
        lost = [
            f"messages[{index}], of the {message.role}"
            for index, message in enumerate(messages)
            if message.text.strip() and end_of(index) not in whole
        ]
        for field in ("tool_calls", "reasoning_content"):
            without = [
                dataclasses.replace(each, extra={k: v for k, v in each.extra.items() if k != field})
                for each in messages
            ]
            if list(messages) != without and self._render(without, tools) == whole:
                lost.append(field)
        if tools and self._render(messages) == whole:
            lost.append("tools")
        if lost:
            raise UserError(f"{self._where} leaves out {', '.join(lost)}")

    def _spans(self, rendered: str) -> list[Span]:
        return [span for span, _ in self._scan(rendered) if span is not None]

    def _scan(self, rendered: str) -> Iterator[tuple[Span | None, int]]:
        """The spans of marked text and where they end; None: the end of a generation block."""
        position = 0
        for found in itertools.chain(self._parts.finditer(rendered), [None]):
            start = found.start() if found else len(rendered)
            if words := rendered[position:start].replace(PART, "").replace(LEARN, ""):
                if BEGIN in words or END in words:
                    raise UserError(f"{self._where} cuts the text of a message, which it must not")
                yield self._text(words), start
            if found is None:
                return
            position = found.end()
            if found["learnt"]:
                yield None, position
            elif name := found["name"]:
                yield Span(np.array([self.tokenizer.piece_to_id(name)], np.int32)), position
            else:
                yield self._text(found["text"], message_of(found["number"])), position

    def _text(self, text: str, message: int | None = None) -> Span:
        # A template adds no space.
        return Span(self.tokenizer.encode(text, continues=True), text, message)
