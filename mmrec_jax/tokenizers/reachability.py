"""Which tokens of a byte-level BPE no text is ever encoded to."""

import codecs
from collections.abc import Mapping

import tokenizers

from mmrec_jax.tokenizers.bpe_file import unspell

_CONTINUATIONS = bytes(range(0x80, 0xC0))
# Neighbours for a token that alone is pre-tokenised or merged differently.
_CONTEXTS = ((" ", ""), ("a", ""), (" a", ""), ("", "a"), ("\n", ""), ("", "\n"), ("", "  "))


def unreachable_tokens(tokenizer: tokenizers.Tokenizer, tokens: Mapping[int, str]) -> list[int]:
    """The ids that occur in the encoding of none of the texts that could give them.

    A token is tried alone, then beside a few others. Byte-pair encoding that makes a token in some
    word makes it of its bytes alone, as no earlier merge reached over its ends: so one that is not
    whole characters is encoded as if it were a word, if its bytes occur in UTF-8 at all. `tokens`
    are in the byte-level spelling, by id.
    """
    spelled = {index: unspell(token) for index, token in tokens.items()}
    texts = {index: data.decode("utf-8", "ignore") for index, data in spelled.items()}
    whole = {index: text for index, text in texts.items() if text.encode() == spelled[index]}
    encodings = tokenizer.encode_batch_fast(list(whole.values()), add_special_tokens=False)
    found = {index for index, each in zip(whole, encodings, strict=True) if index in each.ids}

    def is_reached(index: int) -> bool:
        if index in whole:
            beside = (left + whole[index] + right for left, right in _CONTEXTS)
            encoded = (tokenizer.encode(text, add_special_tokens=False).ids for text in beside)
            return any(index in ids for ids in encoded)
        word = [token.id for token in tokenizer.model.tokenize(tokens[index])]
        return word == [index] and _is_part_of_text(spelled[index])

    return [index for index in tokens if index not in found and not is_reached(index)]


def _is_part_of_text(data: bytes) -> bool:
    """Whether bytes that may begin and end inside characters are UTF-8."""
    body = data.lstrip(_CONTINUATIONS)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body)
    except UnicodeDecodeError:
        return False
    return len(data) - len(body) <= 3
