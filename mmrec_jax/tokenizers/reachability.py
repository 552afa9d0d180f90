"""Which tokens of a byte-level BPE no text is ever encoded to."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping

import tokenizers

from mmrec_jax.tokenizers.bpe_file import unspell

_CONTINUATION = range(0x80, 0xC0)
# Neighbours for a token that alone is pre-tokenised or merged differently.
_CONTEXTS = ((" ", ""), ("a", ""), (" a", ""), ("", "a"), ("\n", ""), ("", "\n"), ("", "  "))
_MOST_CHARACTERS = 64  # that a part of a character is tried in


def unreachable_tokens(tokenizer: tokenizers.Tokenizer, tokens: Mapping[int, str]) -> list[int]:
    """The ids that occur in the encoding of none of the texts that could give them.

    A token is tried alone, then beside a few others; one that is not whole characters is tried
    inside some of the characters that it may be a part of. Byte-pair encoding that makes a token in
    some word makes it of its text alone, as no earlier merge reached over its ends; so a token that
    is not found is one that no word gives.

    Args:
      tokenizer: a byte-level BPE.
      tokens: those to try, by id, in the byte-level spelling.
    """
    spelled = {index: unspell(token) for index, token in tokens.items()}
    texts = {index: data.decode("utf-8", "ignore") for index, data in spelled.items()}
    whole = {index: text for index, text in texts.items() if text.encode() == spelled[index]}
    encodings = tokenizer.encode_batch_fast(list(whole.values()), add_special_tokens=False)
    found = {index for index, each in zip(whole, encodings, strict=True) if index in each.ids}
    return [
        index
        for index in tokens
        if index not in found
        and not any(
            index in tokenizer.encode(text, add_special_tokens=False).ids
            for text in _texts_with(spelled[index])
        )
    ]


def _texts_with(data: bytes) -> Iterator[str]:
    """Texts whose UTF-8 bytes hold `data`."""
    whole = data.decode("utf-8", "ignore").encode()
    # Without a whole character: the end of one and the beginning of the next.
    lead = next((i for i, byte in enumerate(data) if byte not in _CONTINUATION), len(data))
    start = data.find(whole) if whole else lead
    head, tail = data[:start], data[start + len(whole) :]
    befores, afters = (
        list(itertools.islice(characters, _MOST_CHARACTERS))
        for characters in (_ending_with(head), _beginning_with(tail))
    )
    for before, after in itertools.product(befores, afters):
        text = before + whole.decode() + after
        yield text
        for left, right in _CONTEXTS:
            yield left + text + right


def _ending_with(head: bytes) -> Iterable[str]:
    """Characters whose last bytes are `head`, or that have it before their last bytes."""
    if not head:
        return [""]
    if any(byte not in _CONTINUATION for byte in head):
        return []
    value = _bits(head)
    found = (
        chr(code)
        for missing in range(3)
        for base in range(0, 0x110000, 1 << 6 * (len(head) + missing))
        for code in range(base + (value << 6 * missing), base + ((value + 1) << 6 * missing))
        if _is_character(code)
    )
    return (character for character in found if head in character.encode()[1:])


def _beginning_with(tail: bytes) -> Iterable[str]:
    """Characters whose first bytes are `tail`."""
    if not tail:
        return [""]
    if not 0xC2 <= tail[0] < 0xF5:
        return []
    length = 2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4
    missing = length - len(tail)
    value = (tail[0] & (0x7F >> length)) << 6 * (len(tail) - 1) | _bits(tail[1:])
    found = (
        chr(code)
        for code in range(value << 6 * missing, (value + 1) << 6 * missing)
        if _is_character(code)
    )
    return (character for character in found if character.encode().startswith(tail))


def _bits(continuation: bytes) -> int:
    return functools.reduce(lambda value, byte: value << 6 | byte & 0x3F, continuation, 0)


def _is_character(code: int) -> bool:
    return code < 0xD800 or 0xE000 <= code < 0x110000
