"""The text of a run's own files, where it fits into memory."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence

from mmrec_jax.data.document import Document
from mmrec_jax.data.files.reading import (
    Reading,
    Source,
    find_sources,
    read_documents,
    require_text,
)
from mmrec_jax.data.files.refusals import Refusals
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.data.split import hold_out, text_share
from mmrec_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunText:
    """What a run trains on and is measured on."""

    sources: Sequence[Source]  # the training files
    reading: Reading  # how they are read
    # The training text by source; None: it is more than `config.data.memory_mb`
    documents: Mapping[str, Sequence[Document]] | None
    # What is held out, or of `config.data.validation`; None: that names none, and the training text
    # is not in memory
    validation: Sequence[Document] | None


def load_text(config: TextConfig) -> RunText:
    """The text of `config.train`, and of `config.validation` or a share of the former.

    What was skipped or is worth knowing is told on standard error.

    Raises:
      UserError: a package or file is missing, a file is broken (named, with the line), or a split
        or a source that has a weight has no text.
    """
    reading = Reading(config.documents, config.field, config.max_record_mb << 20)
    sources = find_sources(config.train, "config.data.train")
    config.check_sources(len(sources))
    if not (config.validation or config.validation_fraction):
        tell("config.data.validation_fraction is 0: all text is trained on, nothing is held out")
    given = _given_validation(config, reading)
    found = _read(config, sources, reading)
    if found is None:
        return RunText(sources, reading, None, given)
    if given is None:
        found, held = hold_out(found, config.validation_fraction)
        left = {name: documents for name, documents in found.items() if documents}
        if config.weights and len(left) < len(found):
            raise UserError(
                f"config.data.validation_fraction = {config.validation_fraction} holds out all "
                f"text of {next(name for name in found if name not in left)}, which has a weight "
                "in config.data.weights; lower it, set it to 0, or set config.data.validation"
            )
        return RunText(sources, reading, left, held)
    held_shares = {text_share(document.text) for document in given}
    every = (document for documents in found.values() for document in documents)
    tell_overlap(len(held_shares & {text_share(document.text) for document in every}))
    return RunText(sources, reading, found, given)


def _given_validation(config: TextConfig, reading: Reading) -> list[Document] | None:
    """The documents of `config.validation`; None: it names none."""
    if not config.validation:
        return None
    option, refusals = "config.data.validation", Refusals(config.on_error)
    limit, size, found = config.memory_mb << 20, 0, list[Document]()
    for document in read_documents(config.validation, option, reading, refusals):
        size += len(document.text.encode())
        if size > limit and found:
            tell(
                f"{option}: of {config.validation} the first {len(found):,} documents are used: "
                f"more than config.data.memory_mb = {config.memory_mb}"
            )
            break
        found.append(document)
    refusals.show()
    return require_text(found, config.validation, option)


def _read(
    config: TextConfig, sources: Sequence[Source], reading: Reading
) -> dict[str, list[Document]] | None:
    """The documents of each source that has some; None: they are more than `memory_mb`."""
    limit, size = config.memory_mb << 20, 0
    if sum(source.size for source in sources) > limit:
        return None
    refusals, found = Refusals(config.on_error), dict[str, list[Document]]()
    for source in sources:
        documents = found.setdefault(source.name, [])
        for document in source.documents(reading, refusals):
            size += len(document.text.encode())
            if size > limit:
                return None
            documents.append(document)
        if config.weights:
            require_text(documents, source.name, "config.data.train")
    refusals.show()
    found = {name: documents for name, documents in found.items() if documents}
    return require_text(found, config.train, "config.data.train")


def tell_overlap(count: int) -> None:
    """Says how many texts of `config.data.validation` are trained on, if any is."""
    if count:
        tell(
            f"config.data.validation: {count:,} of its texts are in config.data.train too; the "
            "validation loss is lower than on new text"
        )


def tell(note: str) -> None:
    """Prints to standard error."""
    print(note, file=sys.stderr)
