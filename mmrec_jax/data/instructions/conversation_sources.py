"""The conversations of the user's own files."""

from mmrec_jax.data.files.reading import Reading, read_records
from mmrec_jax.data.files.refusals import OnError, Refusals
from mmrec_jax.data.instructions.record import read_record
from mmrec_jax.data.kinds.instructions import InstructionsConfig
from mmrec_jax.data.split import Split, held_out
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import Conversation


def load_conversations(data: InstructionsConfig) -> dict[Split, list[Conversation]]:
    """The conversations of "train" and "validation", in an order that depends on the data alone.

    A share is held out, or `data.validation` names other files. The share is taken by a hash of the
    prompt: several responses to one prompt stay together.

    Raises:
      UserError: a file is missing, a line is broken (named), or a split is empty.
    """
    limits = data.on_error, data.max_record_mb * 2**20
    fields = data.record_fields
    train = read_conversations(data.train, fields, "config.data.train", *limits)
    if data.validation:
        validation = read_conversations(data.validation, fields, "config.data.validation", *limits)
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
    fields: tuple[str, str] = ("", ""),
    option: str = "--data",
    on_error: OnError = "stop",
    max_record_bytes: int = 1 << 30,
) -> list[Conversation]:
    """All conversations of some files of JSON lines or JSON arrays, compressed or not.

    Args:
      pattern: comma-separated paths, globs or folders.
      fields: which hold the prompt and the response; empty: the records have a common shape.
      option: what to call `pattern` in an error message.
      on_error: see `Refusals`; what was skipped is listed on standard error.
      max_record_bytes: a longer record is refused.

    Raises:
      UserError: a file is missing, a line is broken (named), or there is none.
    """
    refusals, conversations = Refusals(on_error), []
    reading = Reading(max_record_bytes=max_record_bytes)
    for place, record in read_records(pattern, option, reading, refusals):
        try:
            conversations.append(read_record(record, place, fields))
        except UserError as error:
            refusals(error)
    refusals.show()
    if not conversations:
        raise UserError(f"{option}: there is no line in {pattern}")
    return conversations
