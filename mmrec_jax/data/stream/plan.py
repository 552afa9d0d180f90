"""Everything that the content of a stream depends on, fit to be sent to a worker."""

import dataclasses
from collections.abc import Callable

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.refusals import OnError
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.quality.cleaning import clean
from mmrec_jax.data.quality.document_filter import DocumentFilter, Reason
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.stream.blocks import Shuffle

LeaveOut = Callable[[Reason], object]


@dataclasses.dataclass(frozen=True)
class Admission:
    """Which documents are trained on, and in which form.

    Attributes:
      held_out: the share of documents that is kept for validation, by a hash of their text.
      clean: whether control characters are left out.
      filter: which documents are kept at all.
    """

    held_out: float = 0.0
    clean: bool = False
    filter: DocumentFilter = dataclasses.field(default_factory=DocumentFilter)

    def __call__(self, document: Document, leave_out: LeaveOut) -> Document | None:
        """The document as it is trained on, or None; see `kept`."""
        kept = self.kept(document, leave_out)
        return None if kept is None or self.is_held_out(kept) else kept

    def kept(self, document: Document, leave_out: LeaveOut) -> Document | None:
        """The document as it is trained or evaluated on; None: `leave_out` is told why not."""
        if self.clean:
            document, _ = clean(document)
        reason = self.filter.refuse(document.text)
        if reason is not None:
            leave_out(reason)
            return None
        return document

    def is_held_out(self, document: Document) -> bool:
        """Whether a document that is kept is for validation."""
        return self.held_out > 0 and hash_share(document.utf8) < self.held_out


@dataclasses.dataclass(frozen=True)
class StreamPlan:
    """What is read, and how it becomes rows.

    Attributes:
      sources: what the parts of `data.train` name.
      mixture: how much of each.
      admission: which of their documents.
      shuffle: in which order.
      lanes: rows of a shard.
      seq_len: T.
      on_error: what is done about records and files that cannot be read.
    """

    sources: tuple[Source, ...]
    mixture: Mixture
    admission: Admission
    shuffle: Shuffle
    lanes: int
    seq_len: int
    on_error: OnError = "stop"
