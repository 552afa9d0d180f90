"""A piece of a file of text, as bytes."""

import dataclasses
from collections.abc import Iterator

from mmrec_jax.data.formats.chunk import Chunk
from mmrec_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByteChunk(Chunk):
    """Whole records as they stand in the file.

    Attributes:
      data: the bytes; a newline that stands first belongs to the record before.
      offset: of the first byte in the file, compression undone.
      line: the number of the first byte's line, from 1; None where it is not known, because the
        bytes before were not read.
      compressed: whether the offsets are those of the file with the compression undone.
    """

    data: bytes
    offset: int
    line: int | None
    compressed: bool

    @property
    def size(self) -> int:
        """See `Chunk.size`."""
        return len(self.data)

    def lines(self) -> Iterator[tuple[bytes, int, int]]:
        """(bytes without the line end, offset in the chunk, line in the chunk) of each line."""
        offset = 0
        for number, line in enumerate(self.data.split(b"\n")):
            yield line.removesuffix(b"\r"), offset, number
            offset += len(line) + 1

    def place(self, line: int, offset: int) -> str:
        """ "file:line", or the byte offset where the line is not known; both from the chunk's."""
        if self.line is None:
            return f"{self.file}, byte {self.offset + offset}"
        return f"{self.file}:{self.line + line}"

    def decode(self, piece: bytes, offset: int) -> str:
        """The text of a piece that stands at `offset` of the chunk.

        Raises:
          UserError: it is not UTF-8.
        """
        try:
            return piece.decode("utf-8")
        except UnicodeDecodeError as error:
            kind = "uncompressed byte" if self.compressed else "byte"
            start = self.offset + offset + error.start
            raise UserError(
                f"{self.file}: not UTF-8 at {kind} offset {start} "
                f"(0x{piece[error.start]:02x}); convert the file to UTF-8"
            ) from None
