"""The conversations of the user's own files."""

import sys
from collections.abc import Collection

from mmrec_jax.data.conversations.records import read_record
from mmrec_jax.data.formats.documents import json_objects
from mmrec_jax.data.formats.refusals import OnError, Refusals
from mmrec_jax.data.kinds.instructions import InstructionsConfig
from mmrec_jax.data.split import Split, held_out
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import Conversation


def load_conversations(data: InstructionsConfig) -> dict[Split, list[Conversation]]:
    """The conversations of "train" and "validation", in an order that depends on the data alone.

    A share is held out, or `data.validation` names other files. The share is taken by a hash of the
    prompt: several responses to one prompt stay together, and so do copies in other white space.

    Raises:
      UserError: a file is missing, a line is broken (named), or a split is empty.
    """

    def read(name: str) -> list[Conversation]:
        return read_conversations(
            data.files[name],
            data.record_fields,
            f"config.data.{name}",
            data.on_error,
            data.max_record_mb * 2**20,
            data.ignored,
        )

    train = read("train")
    if data.validation:
        return {"train": train, "validation": read("validation")}
    below = held_out([" ".join(each.prompt.split()) for each in train], data.validation_fraction)
    sides: tuple[tuple[Split, bool], ...] = (("train", False), ("validation", True))
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
    fields: tuple[str, str] = ("", ""),
    option: str = "--data",
    on_error: OnError = "stop",
    max_record_bytes: int = sys.maxsize,
    ignored: Collection[str] = (),
) -> list[Conversation]:
    """All conversations of some files of records.

    Args:
      pattern: comma-separated paths, globs or folders.
      fields: which hold the prompt and the response; empty: the records have a common shape.
      option: what to call `pattern` in an error message.
      on_error: see `Refusals`; what was skipped is listed on standard error.
      max_record_bytes: a longer record is refused.
      ignored: fields that are left unread.

    Raises:
      UserError: a file is missing, a line is broken (named), or there is none.
    """
    refusals, conversations = Refusals(on_error), []
    for place, record in json_objects(pattern, option, refusals, max_record_bytes):
        try:
            conversations.append(read_record(record, place, fields, ignored))
        except UserError as error:
            refusals(error)
    refusals.show()
    if not conversations:
        found = (
            f"{refusals.count:,} records, all of them refused," if refusals.count else "no record"
        )
        raise UserError(f"{option}: there is {found} in {pattern}")
    return conversations
