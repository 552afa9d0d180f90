"""Conversations as the data of a run: of the user's files, and in tokens."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mmrec_jax.data.conversations.encoder import PROBE, ChatEncoder, Span
from mmrec_jax.data.conversations.records import read_record
from mmrec_jax.data.files.reading import Reading, find_sources
from mmrec_jax.data.files.refusals import OnError, Refusals, Refuse, stop
from mmrec_jax.data.kinds.instructions import (
    COMMON_SHAPES,
    ConversationsConfig,
    InstructionsConfig,
    RecordFields,
)
from mmrec_jax.data.split import Split, held_out
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.chat_template import (
    BUILT_IN,
    CHATML,
    CHATML_TOKENS,
    MARKED_TEXT,
    PLAIN,
    ChatTemplate,
    read_template,
)
from mmrec_jax.tokenizers.conversation import Conversation
from mmrec_jax.tokenizers.tokenizer import Tokenizer

Overlong = Literal["drop", "truncate", "error"]


def load_conversations(data: InstructionsConfig) -> dict[Split, list[Conversation]]:
    """See `ConversationsConfig.load`.

    A share is held out, or `data.validation` names other files. The share is taken by a hash of the
    prompt: several responses to one prompt stay together. With a share of 0 nothing is held out.
    """

    def read(name: str) -> list[Conversation]:
        return read_conversations(
            data.files[name],
            data.record_fields,
            f"config.data.{name}",
            data.on_error,
            data.max_record_mb * 2**20,
        )

    train = read("train")
    if data.validation:
        return {"train": train, "validation": read("validation")}
    below = held_out([each.prompt.strip() for each in train], data.validation_fraction)
    if all(below):
        raise UserError(
            f"holding out config.data.validation_fraction = {data.validation_fraction} of "
            f"{len(train)} conversations leaves none to train on; add some, lower it or set "
            "config.data.validation"
        )
    splits: dict[Split, list[Conversation]] = {"train": []}
    for conversation, held in zip(train, below, strict=True):
        splits.setdefault("validation" if held else "train", []).append(conversation)
    return splits


def read_conversations(
    pattern: str,
    fields: RecordFields = COMMON_SHAPES,
    option: str = "--data",
    on_error: OnError = "stop",
    max_record_bytes: int = 1 << 30,
) -> list[Conversation]:
    """All conversations of some files of records, which `option` names in an error message.

    What was skipped is listed on standard error.

    Raises:
      UserError: a file is missing, a line is broken (named), or there is none.
    """
    refusals, conversations = Refusals(on_error), []
    reading = Reading(max_record_bytes=max_record_bytes)
    for source in find_sources(pattern, option):
        for location, record in source.records(reading, refusals):
            try:
                conversations.append(read_record(record, location, fields))
            except UserError as error:
                refusals(error)
    refusals.show()
    if not conversations:
        raise UserError(
            f"{option}: no record in {pattern} can be used; {refusals.count:,} were refused"
        )
    return conversations


def conversation_dataset(
    config: ConversationsConfig,
    conversations: Mapping[Split, Sequence[Conversation]],
    tokenizer: Tokenizer,
) -> TextDataset:
    """Encodes both splits, and gives the template to the tokenizer.

    Raises:
      UserError: the template does not suit the tokenizer, or as `encode_examples`.
    """
    template = choose_template(config, tokenizer)
    encoder = ChatEncoder(template, tokenizer)
    refusals = Refusals(config.on_error if isinstance(config, InstructionsConfig) else "stop")
    stores, fits = dict[Split, TokenStore](), list[str]()
    for split, examples in conversations.items():
        stores[split], fit = encode_examples(
            examples, encoder, config.seq_len, config.overlong, refusals
        )
        fits.append(f"{split} {fit}")
    refusals.show()
    tokenizer.chat_template = template
    train = stores["train"]
    assert train.weights is not None
    prompts = {each.prompt.strip() for each in conversations["train"]}
    repeated = sum(each.prompt.strip() in prompts for each in conversations.get("validation", ()))
    remarks = (
        f"bytes are those of responses, and so are {train.weights.sum() / train.num_pairs:.0%} of "
        f"the tokens; template {template.name}; {repeated:,} validation prompts are in the "
        f"training data too; longer than a row of {config.seq_len:,}: {'; '.join(fits)}"
    )
    return TextDataset(
        config, tokenizer, (train,), stores.get("validation"), carry_state=False, remarks=remarks
    )


def choose_template(config: ConversationsConfig, tokenizer: Tokenizer) -> ChatTemplate:
    """The template that the config names, or under "auto" the one that suits the tokenizer."""
    if config.template == "auto":
        known = all(tokenizer.piece_to_id(name) is not None for name in CHATML_TOKENS)
        template = tokenizer.chat_template or (CHATML if known else PLAIN)
    else:
        template = _configured(config)
    return template.with_thinking(config.enable_thinking)


def training_texts(config: ConversationsConfig, conversations: Sequence[Conversation]) -> list[str]:
    """What a tokenizer trained for these conversations must spell: template and messages."""
    template = PLAIN if config.template == "auto" else _configured(config)
    words = MARKED_TEXT.sub("\0", template.render(PROBE, ask=True)).split("\0")
    return [*words, *(message.text for each in conversations for message in each.messages)]


def _configured(config: ConversationsConfig) -> ChatTemplate:
    if config.template in BUILT_IN:
        return BUILT_IN[config.template]
    path = Path(config.template).expanduser()
    expected = f"auto, {', '.join(BUILT_IN)} or a file"
    config.require(path.is_file(), "template", expected)
    return read_template(path)


def encode_examples(
    conversations: Iterable[Conversation],
    encoder: ChatEncoder,
    seq_len: int,
    overlong: Overlong,
    refuse: Refuse = stop,
) -> tuple[TokenStore, str]:
    """Each conversation as one document that fits in a row; in words, what became of longer ones.

    The weight is 1 at the tokens of responses that are learnt, the end of each turn included, and 0
    at all others; the bytes and characters that are counted are those of the same responses.
    `refuse` takes what the tokenizer or the template has against a conversation (named).

    Raises:
      UserError: what `refuse` raises; an example is too long under "error"; or none is left.
    """
    kept: list[list[Span]] = []
    dropped = truncated = 0
    for conversation in conversations:
        try:
            spans = encoder.conversation(conversation)
        except UserError as error:
            refuse(UserError(f"{conversation.name}: {error}"))
            continue
        excess = _length(spans) - 1 - seq_len  # the last token is not read
        if excess > 0 and overlong == "error":
            raise UserError(
                f"{conversation.name}: this example has {seq_len + excess:,} tokens and "
                f"config.data.seq_len is {seq_len:,}; raise it, or set config.data.overlong to "
                "drop or truncate"
            )
        if excess > 0:
            spans = _shortened(spans, excess) if overlong == "truncate" else []
            truncated += bool(spans)
            dropped += not spans
        if spans:
            kept.append(spans)
    if not kept:
        raise UserError(
            f"no example is left: {dropped:,} have more than config.data.seq_len = {seq_len:,} "
            "tokens; raise it"
        )
    parts = [span for spans in kept for span in spans]
    learnt = ["".join(span.text for span in spans if span.trained) for spans in kept]
    weights = [np.full(len(part.ids), part.trained, np.float32) for part in parts]
    store = TokenStore(
        tokens=np.concatenate([part.ids for part in parts]),
        offsets=np.cumsum([0, *map(_length, kept)], dtype=np.int64),
        byte_counts=np.array([len(text.encode("utf-8")) for text in learnt], np.int64),
        character_counts=np.array([len(text) for text in learnt], np.int64),
        weights=np.concatenate(weights),
        unspelled_bytes=sum(
            encoder.tokenizer.unspelled_bytes(part.text, part.ids)
            for part in parts
            if part.trained and part.text
        ),
    )
    return store, f"{dropped:,} dropped, {truncated:,} with shortened prompts"


def _shortened(spans: list[Span], excess: int) -> list[Span]:
    """Takes `excess` tokens from the beginnings of the texts that are read, the earliest first.

    Headers and responses stay whole. Empty: the texts do not have so many.
    """
    shorter = []
    for span in spans:
        spare = span.message is not None and not span.trained
        cut = min(excess, len(span.ids)) if spare else 0
        shorter.append(dataclasses.replace(span, ids=span.ids[cut:]))
        excess -= cut
    return [] if excess else shorter


def _length(spans: list[Span]) -> int:
    return sum(len(span.ids) for span in spans)
