"""What an extension leaves as it was: texts that are given, or English and code.

No pair of tokens that occurs in a protected text is merged, inside a word or across words. Nobody
can give all of English, so without texts two rules stand for it. Inside words: the pairs of the
Python manual. Across words: every two tokens of the base that are spelled in ASCII. The base knows
nearly every English word and mark as one token, so that most joints of English and code are such
("York" after "New", a comma after "her"), and a manual has seen few of them; a joint of a learned
token, or of one with a Turkish letter, is hardly ever English.
"""

import dataclasses
import hashlib
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.data.manual import manual_documents
from mmrec_jax.tokenizers.bpe_file import BpeFile, unspell
from mmrec_jax.tokenizers.learning import pair_key, split_key
from mmrec_jax.tokenizers.text import added_words, split_words


@dataclasses.dataclass(frozen=True, eq=False)
class _PairsOf:
    """The pairs of `both`, and those among `tokens`."""

    both: frozenset[int]
    tokens: frozenset[int]

    def __contains__(self, pair: object) -> bool:
        assert isinstance(pair, int)
        return pair in self.both or self.tokens.issuperset(split_key(pair))


@dataclasses.dataclass(frozen=True)
class Protection:
    """Texts, and whether the tokens of the base in ASCII are left apart."""

    texts: Sequence[str]
    joints: bool  # every joint of two words that end and begin in such tokens is protected

    def record(self) -> dict[str, Any]:
        """All that determines what is protected, as JSON."""
        texts = hashlib.sha256("\0".join(self.texts).encode()).hexdigest()
        return {"protected_sha256": texts, "protected_joints": self.joints}

    def pairs(
        self, base: BpeFile, tokenizer: tokenizers.Tokenizer
    ) -> tuple[Container[int], Container[int]]:
        """The pairs inside words, and of a word's last token and the next word, by `pair_key`.

        `tokenizer` is that of `base` with the pre-tokens of the extension.
        """
        inside, across = _pairs_in(self.texts, tokenizer)
        plain = {index for token, index in base.vocab.items() if unspell(token).isascii()}
        return inside, _PairsOf(frozenset(across), frozenset(plain if self.joints else ()))


def protect_texts(texts: Sequence[str]) -> Protection:
    """Protects some texts and no more."""
    return Protection(texts, joints=False)


def protect_english() -> Protection:
    """Protects English and code; a `UserError` if this Python has no manual."""
    return Protection([document.text for document in manual_documents()], joints=True)


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
