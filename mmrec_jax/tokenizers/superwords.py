"""Superwords: tokens that reach across spaces (SuperBPE; Liu et al. 2025, arXiv:2503.13423).

The pre-tokeniser keeps a word and the words after it in one pre-token as long as they are
*followers*, words of a list that is learned (", ve", " bir şey", " için"); merges then join the end
of the first word with its followers, or these with each other. A word that is no follower begins a
new pre-token, so text without followers is split, and encoded, as before.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import GPT2_REGEX, BpeFile, unspell
from mmrec_jax.tokenizers.byte_bpe import (
    CONTRACTION,
    CONTRACTIONS,
    MARKS,
    ONE_DIGIT,
    SPACE,
    WORD,
    split_expression,
)
from mmrec_jax.tokenizers.learning import Symbols, Vocabulary
from mmrec_jax.tokenizers.text import CountedText

# Endings after an apostrophe that the rule for English contractions would split: 'da is not 'd + a.
_ENDINGS = (
    r"'(?:[dt][ae](?:n|ki)?|[dt][ıiuü]r|s[ıiuü](?:n[ae]|n[ıiuü]n?|nd[ae]n?|yl[ae])?)(?!\p{L})"
)
# Contractions, words, digits, line ends after marks, and spaces, by the whole expression: of Qwen2
# and Qwen3; of GPT-4 and Llama 3; of GPT-2.
_KNOWN = {
    split_expression(digits): (CONTRACTION, WORD, digits, r"[\r\n]+", SPACE)
    for digits in (ONE_DIGIT, r"\p{N}{1,3}")
}
_GPT2 = ("|".join(CONTRACTIONS), r" ?\p{L}+", r" ?\p{N}+", "", r"\s+(?!\S)|\s+")
_KNOWN[GPT2_REGEX] = _GPT2
# Oniguruma, Ruby syntax: https://github.com/kkos/oniguruma/blob/master/doc/RE
_SPECIAL = frozenset(r"\.^$|?*+()[]{}")


def superword_expression(base: BpeFile, followers: Iterable[str] = ()) -> str:
    """The expression of a pre-tokeniser that keeps `followers` with the word before them.

    Without followers it differs from that of `base` in `_ENDINGS` alone.

    Raises:
      UserError: the pre-tokeniser of `base` is not one of `_KNOWN`.
    """
    parts = _KNOWN.get(base.split_regex or "")
    if parts is None:
        raise UserError(
            f"{base.name}: --superwords needs the pre-tokeniser of GPT-2, Qwen2, Qwen3, GPT-4 or "
            "Llama 3, and this file has another; leave --superwords out"
        )
    contraction, word, digits, lines, space = parts
    ends = {follower: _end(follower) for follower in followers}
    more = f"(?:{trie_regex(ends)})*" if ends else ""
    after_marks = f"(?:{lines}|{more})" if lines else more
    return f"{_ENDINGS}{more}|{contraction}|{word}{more}|{digits}|{MARKS}{after_marks}|{space}"


def superword_symbols(words: Symbols, text: CountedText, vocabulary: Vocabulary) -> Symbols:
    """A text as what may be joined across words, given the words of its table in tokens.

    The last token of each word of letters or marks, -1 for other words (digits stay single, lines
    and indentation are left alone), and a -1 before each word that cannot be a follower: one of
    several tokens, or one that would not be a word after another.
    """
    ends = np.flatnonzero(words.symbols == -1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    leads, follows = np.zeros(len(ends) + 1, bool), np.zeros(len(ends) + 1, bool)
    ids = words.symbols.tolist()
    for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        data = unspell("".join(vocabulary.tokens[token] for token in ids[start:end]))
        word = data.decode("utf-8", "replace")
        leads[index] = _is_word(word)
        follows[index] = leads[index] and end - start == 1 and not word[0].isalpha()
    last = np.append(np.where(leads[:-1], words.symbols[ends - 1], -1), -1)
    # Index -1 of the order is the last element of each.
    positions = np.cumsum(2 - follows[text.order]) - 1
    symbols = np.full(positions[-1] + 1, -1, np.int32)
    weights = np.ones(len(symbols), np.int64)
    symbols[positions], weights[positions] = last[text.order], text.weights
    return Symbols(symbols, weights)


def followers(vocabulary: Vocabulary) -> list[str]:
    """The words that superwords join to what is before them, in the order of learning."""
    parts: dict[int, tuple[int, ...]] = {}
    found: dict[int, None] = {}
    for each in vocabulary.learned:
        if each.stage == "superword":
            right = parts.get(each.right, (each.right,))
            parts[each.result] = parts.get(each.left, (each.left,)) + right
            found |= dict.fromkeys(right)
    return [unspell(vocabulary.tokens[token]).decode() for token in found]


def _is_word(text: str) -> bool:
    """Letters with perhaps a mark or a space before them, or marks with perhaps a space before."""
    if text.casefold() in CONTRACTIONS:
        return False
    body = text if text[0].isalpha() else text[1:]
    if body.isalpha():
        return text[0] == " " or not text[0].isspace()
    marks = text.removeprefix(" ")
    return bool(marks) and not any(each.isspace() or each.isalnum() for each in marks)


def _end(follower: str) -> str:
    """What must not come after a follower of letters, of one mark, of several marks."""
    if follower[-1].isalpha():
        return r"(?!\p{L})"
    return r"(?![^\s\p{N}]|[\r\n])" if len(follower) == 1 else r"(?![^\s\p{L}\p{N}]|[\r\n])"


def trie_regex(strings: Mapping[str, str]) -> str:
    """An expression that matches the longest of some strings whose condition holds after it.

    Common prefixes are shared, so a position where nothing matches is rejected in a few steps. A
    condition is an expression that matches the empty string.
    """
    tails: dict[str, dict[str, str]] = {}
    for string in sorted(strings):
        if string:
            tails.setdefault(string[0], {})[string[1:]] = strings[string]
    parts = [
        ("\\" if first in _SPECIAL else "") + first + trie_regex(rest)
        for first, rest in tails.items()
    ]
    if "" in strings:
        parts.append(strings[""])  # the last one: a longer string comes first
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"
