"""The conversations of the user's own files."""

from mmrec_jax.data.conversations.records import read_record
from mmrec_jax.data.files.reading import Reading, find_sources
from mmrec_jax.data.files.refusals import OnError, Refusals
from mmrec_jax.data.kinds.instructions import COMMON_SHAPES, InstructionsConfig, RecordFields
from mmrec_jax.data.split import Split, held_out
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import Conversation


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
    validation = [each for each, held in zip(train, below, strict=True) if held]
    train = [each for each, held in zip(train, below, strict=True) if not held]
    if not train:
        raise UserError(
            f"holding out config.data.validation_fraction = {data.validation_fraction} of "
            f"{len(validation)} conversations leaves none to train on; add some, lower it or set "
            "config.data.validation"
        )
    return {"train": train, "validation": validation} if validation else {"train": train}


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
