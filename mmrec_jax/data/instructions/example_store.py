"""Conversations as a token store in which the responses alone count."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np

from mmrec_jax.data.chat_encoder import ChatEncoder, Piece
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import Conversation

Overlong = Literal["drop", "truncate", "error"]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What became of the examples that are longer than a row.

    Attributes:
      dropped: left out.
      truncated: kept with shortened prompts.
    """

    dropped: int = 0
    truncated: int = 0

    def __str__(self) -> str:
        """The two counts in words."""
        return f"{self.dropped:,} dropped, {self.truncated:,} with shortened prompts"


def encode_examples(
    conversations: Iterable[Conversation], encoder: ChatEncoder, seq_len: int, overlong: Overlong
) -> tuple[TokenStore, Fit]:
    """Each conversation as one document that fits in a row.

    The weight is 1 at the tokens of the responses, the end of each turn of the assistant included,
    and 0 at all others; the bytes and characters that are counted are those of the responses.

    Args:
      conversations: in their order.
      encoder: the template.
      seq_len: T, the most tokens that an example may read.
      overlong: what to do with a longer one: see `ConversationsConfig.overlong`.

    Raises:
      UserError: the tokenizer refuses a message, an example is too long under "error" (both named),
        or none is left.
    """
    kept: list[tuple[Conversation, list[Piece]]] = []
    dropped = truncated = 0
    for conversation in conversations:
        try:
            pieces = encoder.conversation(conversation.messages)
        except UserError as error:
            raise UserError(f"{conversation.name}: {error}") from None
        tokens = _read(pieces)
        if tokens > seq_len:
            if overlong == "error":
                raise UserError(
                    f"{conversation.name}: this example has {tokens:,} tokens and "
                    f"config.data.seq_len is {seq_len:,}; raise it, or set "
                    "config.data.overlong to drop or truncate"
                )
            shorter = shorten(pieces, tokens - seq_len) if overlong == "truncate" else None
            if shorter is None:
                dropped += 1
                continue
            truncated += 1
            pieces = shorter
        kept.append((conversation, pieces))
    if not kept:
        raise UserError(
            f"no example is left: all {dropped:,} have more than config.data.seq_len = {seq_len:,} "
            "tokens; raise it"
        )
    parts = [piece for _, pieces in kept for piece in pieces]
    lengths = [_read(pieces) + 1 for _, pieces in kept]
    responses = [conversation.response for conversation, _ in kept]
    store = TokenStore(
        tokens=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        byte_counts=np.array([len(text.encode("utf-8")) for text in responses], np.int64),
        character_counts=np.array([len(text) for text in responses], np.int64),
        weights=np.concatenate(
            [np.full(len(part.ids), part.response, np.float32) for part in parts]
        ),
    )
    return store, Fit(dropped, truncated)


def shorten(pieces: list[Piece], excess: int) -> list[Piece] | None:
    """Takes `excess` tokens from the beginnings of the prompts, the earliest first.

    Headers and responses stay whole. None: the prompts do not have so many.
    """
    shorter = []
    for piece in pieces:
        cut = min(excess, len(piece.ids)) if piece.prompt else 0
        shorter.append(dataclasses.replace(piece, ids=piece.ids[cut:]))
        excess -= cut
    return None if excess else shorter


def _read(pieces: list[Piece]) -> int:
    """How many tokens a model reads: all but the last one."""
    return sum(len(piece.ids) for piece in pieces) - 1
