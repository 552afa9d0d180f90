"""Records that are values of bytes: rows of a column, records of an ArrayRecord file."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.chunk import Chunk, Refuse, too_long
from mmrec_jax.data.formats.example_proto import read_example
from mmrec_jax.data.formats.json_record import FIELD_OPTION, json_record, no_field, string_field
from mmrec_jax.errors import UserError

# What each value is: UTF-8 text, a JSON object with the field, or a tf.train.Example with it.
Content = Literal["text", "json", "example"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueChunk(Chunk):
    """Some values in their order.

    Attributes:
      values: each in bytes, None where the file has none.
      left_out: the indices of values that are not read; `errors` say why.
      first: the number of the first one in the file, from 1.
      content: what the bytes are.
      field: of JSON objects and Examples: where the text stands.
    """

    values: tuple[bytes | None, ...] = ()
    left_out: frozenset[int] = frozenset()
    first: int = 1
    content: Content
    field: str

    def with_values(self, values: list[bytes | None], first: int, limit: int) -> "ValueChunk":
        """The chunk with these values, the first being number `first`; longer ones are left out."""
        long = [at for at, value in enumerate(values) if value is not None and len(value) > limit]
        kept: list[bytes | None] = list(values)
        for at in long:
            kept[at] = None
        return dataclasses.replace(
            self,
            values=tuple(kept),
            first=first,
            left_out=frozenset(long),
            errors=tuple(too_long(f"{self.file}, record {first + at}", limit) for at in long),
        )

    @property
    def size(self) -> int:
        """See `Chunk.size`."""
        return sum(len(value) for value in self.values if value is not None)

    def _records(self, refuse: Refuse) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.content != "json":
            yield from super()._records(refuse)
            return
        for place, value in self._placed():
            try:
                record = json_record(_utf8(value or b"", place), place)
            except UserError as error:
                refuse(error)
                continue
            yield place, record

    def _documents(self, refuse: Refuse) -> Iterator[Document]:
        for place, value in self._placed():
            try:
                text = self._text(value, place)
            except UserError as error:
                refuse(error)
                continue
            if text and not text.isspace():
                yield Document(place, text)

    def _placed(self) -> Iterator[tuple[str, bytes | None]]:
        for index, value in enumerate(self.values):
            if index not in self.left_out:
                yield f"{self.file}, record {self.first + index}", value

    def _text(self, value: bytes | None, place: str) -> str:
        if value is None:
            raise UserError(f"{place}: field {self.field!r} is a null, not a string")
        if self.content == "text":
            return _utf8(value, place)
        option = FIELD_OPTION
        if self.content == "json":
            return string_field(json_record(_utf8(value, place), place), self.field, place, option)
        try:
            features = read_example(value)
        except ValueError as error:
            raise UserError(f"{place}: this is no tf.train.Example: {error}") from None
        if self.field not in features:
            raise UserError(no_field(self.field, features, place, option))
        values = features[self.field]
        if values is None or len(values) != 1:
            kind = "numbers" if values is None else f"{len(values)} values"
            raise UserError(f"{place}: feature {self.field!r} has {kind}, not one text")
        return _utf8(values[0], place)


def _utf8(value: bytes, place: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: not UTF-8 at byte {error.start} of its text (0x{value[error.start]:02x})"
        ) from None
