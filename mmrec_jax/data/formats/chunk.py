"""A bounded piece of a file: what is dealt to shards and sent to worker processes."""

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

CHUNK_BYTES = 1 << 18  # of a file's text, about

Refuse = Callable[[UserError], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk(abc.ABC):
    """Some whole records of one file, not parsed yet; small, and cheap to pickle.

    Attributes:
      file: the name of the file, for error messages.
      number: from 0 in the file; a function of the file's content and of nothing else. Numbers
        may be left out: a record longer than a chunk takes the room of several.
      errors: what is wrong in this piece of the file beyond its records: a record too long to be
        held, the place behind which the file is damaged.
    """

    file: str
    number: int
    errors: tuple[str, ...] = ()

    def documents(self, refuse: Refuse) -> list[Document]:
        """The documents in their order; blank ones are left out.

        Args:
          refuse: is handed each error; it raises, or returns: then the record is left out.
        """
        return list(self.each_document(refuse))

    def each_document(self, refuse: Refuse) -> Iterator[Document]:
        """`documents`, each parsed when it is asked for: while it is used, caches hold it."""
        yield from self._documents(refuse)
        self._refuse_errors(refuse)

    def records(self, refuse: Refuse) -> list[tuple[str, dict[str, Any]]]:
        """The place ("file:line") and the object of each record, where these are JSON objects.

        Raises:
          UserError: they are not.
        """
        found = list(self._records(refuse))
        self._refuse_errors(refuse)
        return found

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Bytes of the records, as they lie in memory."""

    @abc.abstractmethod
    def _documents(self, refuse: Refuse) -> Iterator[Document]: ...

    def _records(self, refuse: Refuse) -> Iterator[tuple[str, dict[str, Any]]]:
        raise UserError(f"{self.file}: this is no file of JSON objects")

    def _refuse_errors(self, refuse: Refuse) -> None:
        for message in self.errors:
            refuse(UserError(message))


def telling_chunk(seen: int, first: int, step: int, always: bool = False) -> int | None:
    """Which of chunks `first`, `first + step`, ... tells of what is wrong from chunk `seen` on.

    Of those who share a file, the one whose chunk it is. Where a reader continued, damage may lie
    before its first chunk: it came since, and would hide all that is left. Of chunk `first - step`
    the reader told when it was there.

    Args:
      seen: where reading ended.
      first: the first chunk that is asked for.
      step: how many share the file.
      always: others need not meet it (the disk failed once): each tells.

    Returns:
      The number, or None: another tells.
    """
    following = first + max(0, -(-(seen - first) // step)) * step
    return following if always or following == seen or seen < first - step else None


def too_long(record: str, limit: int) -> str:
    """What is said of a record (named with its file) that is longer than `limit` bytes."""
    option = "config.data.max_record_mb, or --max-record-mb"
    return f"{record} is longer than {limit:,} bytes ({option})"
