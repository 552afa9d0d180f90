"""Documents in JSON objects, one a line."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.byte_chunk import ByteChunk
from mmrec_jax.data.formats.chunk import Refuse
from mmrec_jax.data.formats.json_record import FIELD_OPTION, document_field, json_record
from mmrec_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonChunk(ByteChunk):
    """JSON lines, the text of each in one field; blank lines are skipped."""

    field: str

    def _records(self, refuse: Refuse) -> Iterator[tuple[str, dict[str, Any]]]:
        for piece, offset, line in self.lines():
            if piece and not piece.isspace():
                place = self.place(line, offset)
                try:
                    record = json_record(self.decode(piece, offset), place)
                except UserError as error:
                    refuse(error)
                    continue
                yield place, record

    def _documents(self, refuse: Refuse) -> Iterator[Document]:
        for place, record in self._records(refuse):
            try:
                document = document_field(record, self.field, place, FIELD_OPTION)
            except UserError as error:
                refuse(error)
                continue
            if document.text and not document.text.isspace():
                yield document
