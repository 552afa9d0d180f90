"""Everything that the content of a stream depends on, fit to be sent to a worker."""

import dataclasses
from collections.abc import Callable

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.refusals import OnError
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.stream.blocks import Shuffle


@dataclasses.dataclass(frozen=True)
class Admission:
    """Which documents are trained on, and in which form.

    Attributes:
      held_out: the share of documents that is kept for validation, by a hash of their text.
      clean: brings a document into the form that is trained on, or drops it (None); None: nothing
        is changed.
    """

    held_out: float = 0.0
    clean: Callable[[Document], Document | None] | None = None

    def __call__(self, document: Document) -> Document | None:
        """The document as it is trained on, or None."""
        if self.is_held_out(document):
            return None
        return self.cleaned(document)

    def cleaned(self, document: Document) -> Document | None:
        """The document in the form that is trained and evaluated on, or None."""
        return document if self.clean is None else self.clean(document)

    def is_held_out(self, document: Document) -> bool:
        """Whether it is kept for validation."""
        return self.held_out > 0 and hash_share(document.text) < self.held_out


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
