"""Which tokens of a byte-level BPE no text is ever encoded to."""

import functools
import itertools
from collections.abc import Iterator, Mapping

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
    is not found is one that no word gives. `tokens` are in the byte-level spelling, by id.
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
    befores = list(itertools.islice(_characters_with(head, at_start=False), _MOST_CHARACTERS))
    afters = list(itertools.islice(_characters_with(tail, at_start=True), _MOST_CHARACTERS))
    for before, after in itertools.product(befores, afters):
        text = before + whole.decode() + after
        yield text
        for left, right in _CONTEXTS:
            yield left + text + right


def _characters_with(part: bytes, *, at_start: bool) -> Iterator[str]:
    """Characters whose UTF-8 bytes begin with `part`, or hold it after the first; "" for none."""
    if not part:
        yield ""
        return
    data = _characters_beyond_ascii()
    position = data.find(part)
    while position >= 0:
        while data[position] in _CONTINUATION:
            position -= 1
        character = data[position : position + 4].decode("utf-8", "ignore")[0].encode()
        if character.startswith(part) if at_start else part in character[1:]:
            yield character.decode()
        position = data.find(part, position + len(character))


@functools.cache
def _characters_beyond_ascii() -> bytes:
    codes = itertools.chain(range(0x80, 0xD800), range(0xE000, 0x110000))
    return "".join(map(chr, codes)).encode()
