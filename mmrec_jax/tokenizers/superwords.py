"""Superwords: tokens that reach across spaces (SuperBPE; Liu et al. 2025, arXiv:2503.13423).

Here a superword is a run of whole pre-tokens. The pre-tokeniser keeps it in one piece by a first
alternative in its expression that matches superwords up to the end of a pre-token, and the merges
make the piece one token. Text without a superword is cut as before.
"""

import unicodedata
from collections.abc import Callable, Iterable, Set

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.byte_alphabet import unspell
from mmrec_jax.tokenizers.merge_learning import Symbols, learn_merges
from mmrec_jax.tokenizers.pair_counts import split_key
from mmrec_jax.tokenizers.trie_regex import trie_regex
from mmrec_jax.tokenizers.vocabulary import Vocabulary

_AT_LEAST = 4  # occurrences
_CLOSED = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Expressions in which a run of letters ends where no letter follows, and one of marks where neither
# a mark nor a line end follows: those of Qwen2 and Qwen3, and of GPT-4 and Llama 3.
_KNOWN = (_CLOSED % "", _CLOSED % "{1,3}")
_AFTER_LETTERS = r"(?!\p{L})"
_AFTER_MARKS = r"(?![^\s\p{L}\p{N}]|[\r\n])"


def require_known_expression(base: BpeFile) -> str:
    """The expression of a pre-tokeniser that superwords can be placed before.

    Raises:
      UserError: it is another one.
    """
    if base.split_regex not in _KNOWN:
        raise UserError(
            f"{base.name}: --superwords needs the pre-tokeniser of Qwen2, Qwen3, GPT-4 or Llama 3, "
            "and this file has another; leave --superwords out"
        )
    return base.split_regex


def superword_expression(base: BpeFile, superwords: Iterable[str]) -> str:
    """The expression of `base` with a first alternative for `superwords`."""
    ends = {
        superword: _AFTER_LETTERS if _is_letter(superword[-1]) else _AFTER_MARKS
        for superword in superwords
    }
    return f"{trie_regex(ends)}|{require_known_expression(base)}"


def superword_symbols(words: Symbols, order: NDArray[np.int32], vocabulary: Vocabulary) -> Symbols:
    """The text as a sequence of words that may become part of a superword.

    Args:
      words: of the table, in the tokens of the vocabulary.
      order: int32, the place of each word of the text in the table, -1 between texts and for words
        that are not in it.
      vocabulary: of `words`.

    Returns:
      The token of each word that is one token, made of letters or of marks; -1 for the others:
      digits stay single, and lines and indentation stay what they are.
    """
    ends = np.flatnonzero(words.symbols == -1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    tokens = np.where(ends - starts == 1, words.symbols[starts], -1)
    usable = {token for token in set(tokens.tolist()) - {-1} if _is_part(vocabulary.tokens[token])}
    tokens = np.where(np.isin(tokens, sorted(usable)), tokens, -1)
    symbols = np.append(tokens, -1)[order].astype(np.int32)  # order -1: the last element
    return Symbols(symbols, np.ones(len(symbols), np.int64))


def learn_superwords(
    vocabulary: Vocabulary,
    text: Symbols,
    new_tokens: int,
    forbidden: Set[int],
    on_progress: Callable[[int], None],
    on_save: Callable[[Symbols], None],
) -> None:
    """Learns superwords until `vocabulary` has `new_tokens` new tokens.

    Args:
      vocabulary: grows.
      text: see `superword_symbols`.
      new_tokens: how many are wanted, subwords included.
      forbidden: pairs of words that must not become one token.
      on_progress: see `learn_merges`.
      on_save: see `learn_merges`.

    Raises:
      OutOfPairs: the text has fewer.
    """
    parts = superword_parts(vocabulary)

    def make(pair: int, count: int) -> int | None:
        if pair in forbidden:
            return None
        token = vocabulary.find(vocabulary.concatenation(pair))
        if token is not None:
            return token if token in parts else None
        left, right = split_key(pair)
        words = parts.get(left, (left,)) + parts.get(right, (right,))
        # The piece is encoded from its words up, and may meet in another place than the pair.
        met = vocabulary.encode(words)
        if len(met) != 2:
            return None
        result = vocabulary.merge(met[0] << 32 | met[1], count, "superword")
        parts[result] = words
        return result

    learn_merges(vocabulary, text, new_tokens, make, {}, _AT_LEAST, on_progress, on_save)


def superword_parts(vocabulary: Vocabulary) -> dict[int, tuple[int, ...]]:
    """The words of each superword learned so far."""
    parts: dict[int, tuple[int, ...]] = {}
    for each in vocabulary.learned:
        if each.stage == "superword":
            left = parts.get(each.left, (each.left,))
            parts[each.result] = left + parts.get(each.right, (each.right,))
    return parts


def superword_texts(vocabulary: Vocabulary) -> list[str]:
    """The superwords learned so far, as text."""
    return [unspell(vocabulary.tokens[token]).decode() for token in superword_parts(vocabulary)]


def _is_part(token: str) -> bool:
    try:
        text = unspell(token).decode()
    except UnicodeDecodeError:
        return False
    text = text.removeprefix(" ")
    return bool(text) and not any(
        character.isspace() or unicodedata.category(character)[0] == "N" for character in text
    )


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] == "L"
