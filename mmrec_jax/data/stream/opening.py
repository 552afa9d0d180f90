"""The first documents of the sources: what a tokenizer is trained on, and what is held out."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.chunk import Refuse
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.stream.blocks import no_document
from mmrec_jax.data.stream.plan import Admission
from mmrec_jax.errors import UserError

HELD_OUT_BYTES = 2 * 2**20
# Where few documents are held out, the search for them ends here, if it has found one.
_SEARCHED_BYTES = 64 * 2**20


@dataclasses.dataclass
class Opening:
    """The beginning of the text.

    Attributes:
      train: texts that are trained on.
      held_out: documents that are not.
    """

    train: list[str]
    held_out: list[Document]


def read_opening(
    sources: Sequence[Source], admission: Admission, train_bytes: int, refuse: Refuse
) -> Opening:
    """Reads each source until it has given its share.

    Args:
      sources: those that are trained on.
      admission: which documents are trained on, which are held out.
      train_bytes: of training text, of all sources together; each gives one document at least.
      refuse: is handed records and files that cannot be read.

    Raises:
      UserError: a source has no document to train on.
    """
    opening = Opening([], [])
    for source in sources:
        _read(source, admission, train_bytes // len(sources), len(sources), refuse, opening)
    return opening


def read_whole(
    sources: Sequence[Source], admission: Admission, option: str, most_bytes: int, refuse: Refuse
) -> list[Document]:
    """All documents of some sources that are kept.

    Raises:
      UserError: there are none, or they have more than `most_bytes` of text.
    """
    found, size = [], 0
    left_out: Counter[str] = Counter()
    for document in _documents(sources, refuse):
        kept = admission.kept(document, lambda reason: left_out.update([reason]))
        if kept is not None:
            found.append(kept)
            size += len(kept.text.encode("utf-8"))
        if size > most_bytes:
            raise UserError(
                f"{option}: there are more than {most_bytes / 2**20:.0f} MB of text, which are "
                "held in memory; name fewer files"
            )
    if not found and left_out:
        raise _none_left(option, left_out)
    if not found:
        raise UserError(f"{option}: the corpus is empty: there is no text in it")
    return found


def _read(
    source: Source,
    admission: Admission,
    train_bytes: int,
    num_sources: int,
    refuse: Refuse,
    opening: Opening,
) -> None:
    """Adds the share of one source to `opening`."""
    held_bytes = HELD_OUT_BYTES // num_sources if admission.held_out else 0
    trained = held = searched = 0
    begun = False
    left_out: Counter[str] = Counter()
    for document in _documents([source], refuse):
        searched_enough = held >= held_bytes or (held and searched > _SEARCHED_BYTES // num_sources)
        if begun and trained >= train_bytes and searched_enough:
            break
        searched += len(document.text.encode("utf-8"))
        kept = admission.kept(document, lambda reason: left_out.update([reason]))
        if kept is None:
            continue
        size = len(kept.text.encode("utf-8"))
        if admission.is_held_out(kept):
            if held < held_bytes:
                opening.held_out.append(kept)
                held += size
        elif not begun or trained < train_bytes:
            begun = True
            trained += size
            if train_bytes:
                opening.train.append(kept.text)
    if not begun and left_out:
        raise _none_left(f"config.data.train: {source.name}", left_out)
    if not begun:
        raise no_document(source)


def _none_left(where: str, left_out: Counter[str]) -> UserError:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
    return UserError(
        f"{where}: no document is left to use; config.data.clean, language, min_chars and "
        f"max_chars leave out: {counts}"
    )


def _documents(sources: Iterable[Source], refuse: Refuse) -> Iterator[Document]:
    """The documents in the order of the files; no more than a chunk of them is in memory."""
    for source in sources:
        for file in source.files:
            for chunk in file.chunks():
                yield from chunk.documents(refuse)
