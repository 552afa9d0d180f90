"""The front door to instructions: from a config to the conversations of both splits."""

import sys

from mmrec_jax.config import Config, InstructionConfig
from mmrec_jax.data.conversation import Conversation
from mmrec_jax.data.formats.documents import json_objects
from mmrec_jax.data.formats.refusals import OnError, Refusals
from mmrec_jax.data.instructions.record import read_record
from mmrec_jax.data.instructions.treebank_pairs import treebank_pairs
from mmrec_jax.data.split import Split, fixed_split, held_out
from mmrec_jax.errors import UserError

INSTRUCTION_SOURCES = ("instructions", "treebank_instructions")


def load_conversations(config: Config) -> dict[Split, list[Conversation]]:
    """The conversations of "train" and "validation", in an order that depends on the data alone.

    The built-in ones are split as the documents of the treebank are, so what is held out from
    a model that was trained on the treebank is held out here. Of the user's own files a
    share is held out, or `data.validation` names other files. The share is taken by a hash of the
    prompt: several responses to one prompt stay together.

    Raises:
      UserError: a package or file is missing, a line is broken (named), or a split is empty.
    """
    data, shapes = config.data, config.instructions
    if data.source == "treebank_instructions":
        pairs = treebank_pairs()
        splits: tuple[Split, Split] = ("train", "validation")
        return {
            split: [pair for document, pair in pairs if fixed_split(document) == split]
            for split in splits
        }
    limits = data.on_error, data.max_record_mb * 2**20
    train = read_conversations(data.train, shapes, "config.data.train", *limits)
    if data.validation:
        validation = read_conversations(data.validation, shapes, "config.data.validation", *limits)
        return {"train": train, "validation": validation}
    sides: tuple[tuple[Split, bool], ...] = (("train", False), ("validation", True))
    below = held_out([each.prompt for each in train], data.validation_fraction)
    split: dict[Split, list[Conversation]] = {
        side: [each for each, held in zip(train, below, strict=True) if held == wanted]
        for side, wanted in sides
    }
    if not split["train"]:
        raise UserError(
            f"holding out config.data.validation_fraction = {data.validation_fraction} of "
            f"{len(train)} conversations leaves none to train on; add some, lower it or set "
            "config.data.validation"
        )
    return split


def read_conversations(
    pattern: str,
    config: InstructionConfig,
    option: str = "--data",
    on_error: OnError = "stop",
    max_record_bytes: int = sys.maxsize,
) -> list[Conversation]:
    """All conversations of some files of JSON lines or JSON arrays, compressed or not.

    Args:
      pattern: comma-separated paths, globs or folders.
      config: which fields hold them.
      option: what to call `pattern` in an error message.
      on_error: see `Refusals`; what was skipped is listed on standard error.
      max_record_bytes: a longer record is refused.

    Raises:
      UserError: a file is missing, a line is broken (named), or there is none.
    """
    refusals, conversations = Refusals(on_error), []
    for place, record in json_objects(pattern, option, refusals, max_record_bytes):
        try:
            conversations.append(read_record(record, place, config))
        except UserError as error:
            refusals(error)
    refusals.show()
    if not conversations:
        raise UserError(f"{option}: there is no line in {pattern}")
    return conversations
