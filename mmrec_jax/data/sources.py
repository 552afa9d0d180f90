"""The text of a run's own files: in memory, or mapped from disk where it is large."""

import dataclasses
import sys
from collections.abc import Sequence

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
from mmrec_jax.data.mapped_text import Holding, MappedText, map_text
from mmrec_jax.data.split import hold_out, text_share
from mmrec_jax.errors import UserError

_VALIDATION_SHARE = 16  # validation text takes at most this part of config.data.memory_mb


@dataclasses.dataclass(frozen=True)
class RunText:
    """What a run trains on and is measured on.

    Attributes:
      documents: the training text by source, where it is in memory; else empty.
      mapped: the training text, one for each source, where it is on disk; else empty.
      validation: may be empty.
    """

    documents: dict[str, list[Document]]
    mapped: list[MappedText]
    validation: list[Document]


def load_text(config: TextConfig) -> RunText:
    """The text of `config.train`, and of `config.validation` or a share of the former.

    What was skipped or is worth knowing is told on standard error.

    Raises:
      UserError: a package or file is missing, a file is broken (named, with the line), or a split
        or a source that has a weight has no text.
    """
    reading = Reading(config.documents, config.field, config.max_record_mb << 20)
    sources = find_sources(config.train, "config.data.train")
    if config.mixture is not None:
        config.mixture.check(len(sources))
    given = _given_validation(config, reading)
    limit = config.memory_mb << 20
    text = None
    if sum(source.size for source in sources) <= limit:
        text = _in_memory(config, sources, reading, given, limit)
    text = text or _mapped(config, sources, reading, given)
    if not text.validation:
        _tell("config.data.validation_fraction is 0: all text is trained on, nothing is held out")
    return text


def _given_validation(config: TextConfig, reading: Reading) -> list[Document] | None:
    """The documents of `config.validation`; None: it names none."""
    if not config.validation:
        return None
    option, refusals = "config.data.validation", Refusals(config.on_error)
    limit, size, found = config.memory_mb << 20, 0, list[Document]()
    for document in read_documents(config.validation, option, reading, refusals):
        size += len(document.utf8)
        if size > limit and found:
            _tell(
                f"{option}: of {config.validation} the first {len(found):,} documents are used: "
                f"more than config.data.memory_mb = {config.memory_mb}"
            )
            break
        found.append(document)
    refusals.show()
    return require_text(found, config.validation, option)


def _in_memory(
    config: TextConfig,
    sources: Sequence[Source],
    reading: Reading,
    given: list[Document] | None,
    limit: int,
) -> RunText | None:
    """None: it is more than `limit` bytes."""
    refusals, size = Refusals(config.on_error), 0
    found: dict[str, list[Document]] = {source.name: [] for source in sources}
    for source in sources:
        for document in source.documents(reading, refusals):
            size += len(document.text.encode())
            if size > limit:
                return None
            found[source.name].append(document)
        if config.weights:
            require_text(found[source.name], source.name, "config.data.train")
    refusals.show()
    found = {name: documents for name, documents in found.items() if documents}
    require_text(found, config.train, "config.data.train")
    if given is None:
        train, validation = hold_out(found, config.validation_fraction)
        left = {name: documents for name, documents in train.items() if documents}
        if config.weights and len(left) < len(train):
            raise _all_held(next(name for name in train if name not in left), config)
        return RunText(left, [], validation)
    held = {text_share(document.text) for document in given}
    every = (document for documents in found.values() for document in documents)
    trained = {text_share(document.text) for document in every}
    _tell_overlap(len(held & trained), config)
    return RunText(found, [], given)


def _mapped(
    config: TextConfig, sources: Sequence[Source], reading: Reading, given: list[Document] | None
) -> RunText:
    kept = (config.memory_mb << 20) // _VALIDATION_SHARE // len(sources)
    fraction = config.validation_fraction if given is None else 0.0
    holding = Holding(fraction, kept)
    texts = [map_text(source, reading, config.on_error, holding) for source in sources]
    for text in texts:
        for note in text.notes:
            _tell(note)
    validation = given or [document for text in texts for document in text.validation]
    texts = texts if config.weights else [text for text in texts if len(text.lengths)]
    for text in texts:
        if text.validation and not len(text.lengths):
            raise _all_held(text.name, config)
        require_text(text.lengths.tolist()[:1], text.name, "config.data.train")
    require_text(texts, config.train, "config.data.train")
    trained = set[float]()
    if given or len(texts) > 1:  # what one source holds out it does not train on
        shares = {text_share(document.text) for document in validation}
        trained.update(*(text.trained_shares(shares) for text in texts))
    if given is not None:
        _tell_overlap(len(trained), config)
    elif trained:  # of a larger source a smaller share is held out
        validation = [each for each in validation if text_share(each.text) not in trained]
        _tell(
            f"{len(trained):,} texts that are held out of one part of config.data.train are in "
            "another one too, and so no validation text"
        )
    if fraction and not validation:
        raise UserError(
            f"config.data.validation_fraction = {fraction} holds out none of the documents of "
            f"{config.train}; raise it or config.data.memory_mb, set it to 0, or set "
            "config.data.validation"
        )
    return RunText({}, texts, validation)


def _all_held(source: str, config: TextConfig) -> UserError:
    return UserError(
        f"config.data.validation_fraction = {config.validation_fraction} holds out all text of "
        f"{source}, which has a weight in config.data.weights; lower it, set it to 0, or set "
        "config.data.validation"
    )


def _tell_overlap(count: int, config: TextConfig) -> None:
    if count:
        _tell(
            f"config.data.validation: {count:,} of its texts are in config.data.train too; the "
            "validation loss is lower than on new text"
        )


def _tell(note: str) -> None:
    print(note, file=sys.stderr)
