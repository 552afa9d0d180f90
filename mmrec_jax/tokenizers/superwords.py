"""Superwords: tokens that reach across spaces (SuperBPE; Liu et al. 2025, arXiv:2503.13423).

The pre-tokeniser keeps a word and the words behind it in one piece as long as they are
*followers*, words of a list that is learned (", ve", " bir şey", " için"); merges then join the
end of the first word with its followers, or these among each other. A word that is no follower
begins a new piece, so that text without followers is cut, and encoded, as before.
"""

from collections.abc import Iterable

import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.byte_alphabet import unspell
from mmrec_jax.tokenizers.merge_learning import Symbols
from mmrec_jax.tokenizers.trie_regex import trie_regex
from mmrec_jax.tokenizers.vocabulary import Vocabulary
from mmrec_jax.tokenizers.word_counting import CountedText

# Endings behind an apostrophe that the rule for English contractions would cut: 'da is not 'd + a.
_ENDINGS = (
    r"'(?:[dt][ae](?:n|ki)?|[dt][ıiuü]r|s[ıiuü](?:n[ae]|n[ıiuü]n?|nd[ae]n?|yl[ae])?)(?!\p{L})"
)
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_CONTRACTION = f"(?i:{'|'.join(_CONTRACTIONS)})"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r" ?[^\s\p{L}\p{N}]+"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Qwen2 and Qwen3; GPT-4 and Llama 3.
_KNOWN = {
    f"{_CONTRACTION}|{_WORD}|{digits}|{_MARKS}[\\r\\n]*|{_SPACE}": digits
    for digits in (r"\p{N}", r"\p{N}{1,3}")
}
# Where a word of letters, one mark, several marks end: what must not come next.
_AFTER_LETTERS = r"(?!\p{L})"
_AFTER_MARK = r"(?![^\s\p{N}]|[\r\n])"
_AFTER_MARKS = r"(?![^\s\p{L}\p{N}]|[\r\n])"


def superword_expression(base: BpeFile, followers: Iterable[str] = ()) -> str:
    """The expression of a pre-tokeniser that keeps `followers` with the word before them.

    Without followers it is that of `base` but for `_ENDINGS`.

    Raises:
      UserError: the pre-tokeniser of `base` is not one that this can be done with.
    """
    digits = _KNOWN.get(base.split_regex or "")
    if digits is None:
        raise UserError(
            f"{base.name}: --superwords needs the pre-tokeniser of Qwen2, Qwen3, GPT-4 or Llama 3, "
            "and this file has another; leave --superwords out"
        )
    ends = {follower: _end(follower) for follower in followers}
    more = f"(?:{trie_regex(ends)})*" if ends else ""
    return (
        f"{_ENDINGS}{more}|{_CONTRACTION}|{_WORD}{more}|{digits}|{_MARKS}(?:[\\r\\n]+|{more})"
        f"|{_SPACE}"
    )


def superword_symbols(words: Symbols, text: CountedText, vocabulary: Vocabulary) -> Symbols:
    """The text as what may be joined across words.

    Args:
      words: of the table, in the tokens of the vocabulary.
      text: the words in their order.
      vocabulary: of `words`.

    Returns:
      The last token of each word of letters or marks, -1 for other words (digits stay single, lines
      and indentation what they are), and a -1 before each word that cannot be a follower: one of
      several tokens, or that would not be a word behind another one.
    """
    ends = np.flatnonzero(words.symbols == -1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    leads, follows = np.zeros(len(ends) + 1, bool), np.zeros(len(ends) + 1, bool)
    numbers = words.symbols.tolist()
    for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        data = unspell("".join(vocabulary.tokens[number] for number in numbers[start:end]))
        word = data.decode("utf-8", "replace")
        leads[place] = _is_word(word)
        follows[place] = leads[place] and end - start == 1 and not word[0].isalpha()
    last = np.append(np.where(leads[:-1], words.symbols[ends - 1], -1), -1)
    # Place -1 of the order is the last element of each.
    places = np.cumsum(2 - follows[text.order]) - 1
    symbols = np.full(places[-1] + 1, -1, np.int32)
    weights = np.ones(len(symbols), np.int64)
    symbols[places], weights[places] = last[text.order], text.weights
    return Symbols(symbols, weights)


def followers(vocabulary: Vocabulary) -> list[str]:
    """The words that some superword joins to what is before them, in the order of learning."""
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
    if text.casefold() in _CONTRACTIONS:
        return False
    body = text if text[0].isalpha() else text[1:]
    if body.isalpha():
        return text[0] == " " or not text[0].isspace()
    marks = text.removeprefix(" ")
    return bool(marks) and not any(each.isspace() or each.isalnum() for each in marks)


def _end(follower: str) -> str:
    if follower[-1].isalpha():
        return _AFTER_LETTERS
    return _AFTER_MARK if len(follower) == 1 else _AFTER_MARKS
