"""The `tf.train.Example` message (tensorflow/core/example/example.proto), without TensorFlow.

The wire format is that of protocol buffers: each field is a varint (number << 3 | wire type), then
a varint (type 0), 8 bytes (1), a varint length and as many bytes (2), or 4 bytes (5). An Example's
field 1 is a Features, whose fields 1 are map entries: key (1) and Feature (2); a Feature's field 1
is a BytesList, 2 a FloatList, 3 an Int64List; a BytesList's fields 1 are the values.
"""

from collections.abc import Iterator

_BYTES_LIST = 1


def read_example(record: bytes) -> dict[str, list[bytes] | None]:
    """The features by name: the values of those that hold bytes, None for numbers.

    Raises:
      ValueError: this is no Example.
    """
    found: dict[str, list[bytes] | None] = {}
    for features in _messages(record, 1):
        for entry in _messages(features, 1):
            (key,) = _messages(entry, 1)
            values: list[bytes] | None = []
            for feature in _messages(entry, 2):
                for kind, content in _fields(feature):
                    values = list(_messages(content, 1)) if kind == _BYTES_LIST else None
            found[key.decode("utf-8")] = values
    return found


def write_example(features: dict[str, bytes]) -> bytes:
    """An Example with one value of bytes in each feature."""
    entries = b"".join(
        _field(
            1, _field(1, name.encode("utf-8")) + _field(2, _field(_BYTES_LIST, _field(1, value)))
        )
        for name, value in features.items()
    )
    return _field(1, entries)


def _messages(data: bytes, number: int) -> Iterator[bytes]:
    """The contents of the fields of a message, all of which must have this number."""
    for found, content in _fields(data):
        if found == number:
            yield content


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each field whose content has a length; others are an error."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        if tag & 7 != 2 or tag >> 3 == 0:
            raise ValueError("a field of another type")
        length, place = _varint(data, place)
        if place + length > len(data):
            raise ValueError("a field is cut off")
        yield tag >> 3, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("a number is cut off")


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | 2]) + bytes(length) + content
