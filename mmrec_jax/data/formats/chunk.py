"""A bounded piece of a file: what is dealt to shards and sent to worker processes."""

import abc
import dataclasses
from collections.abc import Callable, Iterator

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
          refuse: is handed each error, in its order; it raises, or returns: then the record is
            left out.
        """
        found = list(self._documents(refuse))
        for message in self.errors:
            refuse(UserError(message))
        return found

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Bytes of the records, as they lie in memory."""

    @abc.abstractmethod
    def _documents(self, refuse: Refuse) -> Iterator[Document]: ...
