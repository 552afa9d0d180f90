"""The text of a streamed run: its files, and what of them is held out."""

import dataclasses

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import Source, find_sources
from mmrec_jax.data.kinds.text import StreamConfig
from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.quality.document_filter import DocumentFilter
from mmrec_jax.data.stream.budget import MEGABYTE
from mmrec_jax.data.stream.opening import read_opening, read_whole
from mmrec_jax.data.stream.plan import Admission
from mmrec_jax.errors import UserError

_VALIDATION_BYTES = 64 * MEGABYTE


@dataclasses.dataclass(frozen=True)
class StreamText:
    """Where the text is, and its beginning.

    Attributes:
      sources: what the parts of `data.train` name; one of all their files without `data.weights`.
      mixture: how much of each.
      admission: which of their documents are trained on.
      opening: texts from the beginning of the sources, for a tokenizer.
      validation: the documents of `data.validation`, or those held out in the first megabytes.
    """

    sources: tuple[Source, ...]
    mixture: Mixture
    admission: Admission
    opening: list[str]
    validation: list[Document]

    @classmethod
    def open(cls, data: StreamConfig, opening_bytes: int) -> "StreamText":
        """Finds the files and reads their beginning.

        Args:
          data: of the run.
          opening_bytes: how much text `opening` has, at least, if there is as much.

        Raises:
          UserError: a file is missing or broken, a source has no text, or none is held out.
        """
        sources = _find(data, data.train, "config.data.train", pooled=not data.weights)
        mixture = Mixture.parse(data.weights or "1", len(sources))
        admission = Admission(
            0.0 if data.validation else data.validation_fraction,
            data.clean,
            DocumentFilter(data.min_chars, data.max_chars or 0, data.language),
        )
        used = [source for index, source in enumerate(sources) if mixture.uses(index)]
        # What is skipped here is met, and told, again when it is its turn to be trained on.
        opening = read_opening(used, admission, opening_bytes, Refusals(data.on_error))
        validation = opening.held_out
        if data.validation:
            option = "config.data.validation"
            named = _find(data, data.validation, option, pooled=True)
            refusals = Refusals(data.on_error)
            validation = read_whole(named, admission, option, _VALIDATION_BYTES, refusals)
            refusals.show()
        if not validation:
            raise UserError(
                f"config.data.validation_fraction = {data.validation_fraction} holds out none of "
                "the documents; raise it or set config.data.validation"
            )
        return cls(sources, mixture, admission, opening.train, validation)


def _find(data: StreamConfig, pattern: str, option: str, *, pooled: bool) -> tuple[Source, ...]:
    largest = data.max_record_mb * MEGABYTE
    sources = find_sources(
        pattern, option, data.documents, data.field, largest, tfds_dir=data.tfds_dir
    )
    if not pooled:
        return tuple(sources)
    files = dict.fromkeys(file for source in sources for file in source.files)
    return (Source(pattern, tuple(files)),)
