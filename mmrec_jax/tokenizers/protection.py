"""What an extension leaves as it was: the texts that are given, or English and code.

No pair of tokens that occurs in a protected text is merged. Nobody can give all of English, so the
default protects the Python manual and, besides, most pairs of tokens that the base spells in ASCII.
The base knows nearly every English word and mark as one token, so what joins two words of English
or code joins two such tokens, and what joins two parts of an English word does so in a rare word.
Such a pair is merged if its letters speak for the text: the log-odds of their trigrams between the
words of the text and those of the base's vocabulary. Inside a word it may also be common: then it
saves many tokens of the text and changes a few rare English words.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.data.manual import manual_documents
from mmrec_jax.tokenizers.bpe_file import BpeFile, unspell
from mmrec_jax.tokenizers.learning import pair_key, split_key
from mmrec_jax.tokenizers.text import CountedText, WordTable, added_words, split_words

# Whether a pair (by `pair_key`) must not be merged, which counts so much in the text.
Refusal = Callable[[int, int], bool]

# Natural logarithms of odds that must be for the text: of a merged token inside a word, of the two
# tokens that would be joined across words (which, unlike rare words, may be common in English).
_INSIDE_ODDS, _ACROSS_ODDS = 1.0, 3.0
_COMMON = 2e-5  # of the words of the text: a pair inside words is common
_WORD = re.compile(r" ?[^\W\d_]+")


@dataclasses.dataclass(frozen=True)
class Protection:
    """What must keep its ids."""

    texts: Sequence[str]
    english: bool = False  # besides, English and code that is in none of them

    def record(self) -> dict[str, Any]:
        """All that determines what is protected, as JSON."""
        texts = hashlib.sha256("\0".join(self.texts).encode()).hexdigest()
        odds = [_INSIDE_ODDS, _ACROSS_ODDS, _COMMON] if self.english else None
        return {"protected_sha256": texts, "protected_english": odds}

    def refusals(
        self, base: BpeFile, tokenizer: tokenizers.Tokenizer, text: CountedText, factor: int
    ) -> tuple[Refusal, Refusal]:
        """The pairs not to be merged inside words, and of a word's last token and the next word.

        Args:
          base: what is extended.
          tokenizer: that of `base`, with the pre-tokens of the extension.
          text: what is learned from.
          factor: what counts of pairs inside words are at most multiplied by.
        """
        inside, across = _pairs_in(self.texts, tokenizer)
        if not self.english:
            return (lambda pair, _: pair in inside), (lambda pair, _: pair in across)
        texts = {index: unspell(token) for token, index in base.vocab.items()}
        plain = {index: text.decode() for index, text in texts.items() if text.isascii()}
        odds = functools.cache(_trigram_odds(_repeated(text.table, texts), plain.values()))
        common = _COMMON * factor * int(text.counts.sum())

        def refuse_inside(pair: int, found: int) -> bool:
            left, right = split_key(pair)
            if pair in inside or left not in plain or right not in plain:
                return pair in inside
            token = plain[left] + plain[right]
            rare = found < common or not any(map(str.isalpha, token))  # figures: in any language
            return rare and odds(token) < _INSIDE_ODDS

        def refuse_across(pair: int, _: int) -> bool:
            left, right = split_key(pair)
            if pair in across or left not in plain or right not in plain:
                return pair in across
            return odds(plain[left]) + odds(plain[right]) < _ACROSS_ODDS

        return refuse_inside, refuse_across


def protect_english() -> Protection:
    """Protects English and code; a `UserError` if this Python has no manual."""
    return Protection([document.text for document in manual_documents()], english=True)


def _repeated(table: WordTable, texts: Mapping[int, bytes]) -> Iterator[str]:
    """The words that occur more than once."""
    ids, offsets, counts = table.words()
    spans = itertools.compress(itertools.pairwise(offsets.tolist()), counts > 1)
    for start, stop in spans:
        word = b"".join(texts[index] for index in ids[start:stop].tolist())
        yield word.decode("utf-8", "replace")


def _trigram_odds(words: Iterable[str], others: Iterable[str]) -> Callable[[str], float]:
    """The log-odds that a token is of one list of words rather than of another, by its letters.

    Half an occurrence more in both lists keeps unknown letters neutral; a short list of `words` is
    not scaled up, so that little text is no evidence.
    """
    ours, theirs = _trigram_counts(words), _trigram_counts(others)
    scale = min(1.0, theirs.total() / max(ours.total(), 1))
    return lambda token: sum(
        math.log((scale * ours[part] + 0.5) / (theirs[part] + 0.5)) for part in _trigrams(token)
    )


def _trigram_counts(words: Iterable[str]) -> collections.Counter[str]:
    """How many different words of letters, a space before them or not, have each trigram."""
    letters = {word.casefold() for word in words if _WORD.fullmatch(word)}
    return collections.Counter(itertools.chain.from_iterable(map(_trigrams, letters)))


def _trigrams(token: str) -> list[str]:
    folded = token.casefold()
    return [folded[start : start + 3] for start in range(len(folded) - 2)]


def _pairs_in(texts: Sequence[str], tokenizer: tokenizers.Tokenizer) -> tuple[set[int], set[int]]:
    added = added_words(tokenizer)
    inside: set[int] = set()
    across: set[int] = set()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        before = np.zeros(0, np.int32)
        for data in split_words(encoding, added):
            word: NDArray[np.int32] = np.frombuffer(data, np.int32)
            pairs = zip(word[:-1].tolist(), word[1:].tolist(), strict=True)
            inside.update(pair_key(left, right) for left, right in pairs)
            if len(before) and len(word) == 1:
                across.add(pair_key(int(before[-1]), int(word[0])))
            before = word
    return inside, across
