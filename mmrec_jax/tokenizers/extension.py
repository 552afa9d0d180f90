"""A tokenizer extended by tokens of a language, learned from text.

Merges are learned on top of those there are, inside the pre-tokens (continued BPE), then across
them (superwords). Both leave `protected` text as it was: no pair that stands in it is merged.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile, load_tokenizer
from mmrec_jax.tokenizers.learning_state import LearningState
from mmrec_jax.tokenizers.merge_learning import OutOfPairs, Symbols, word_symbols
from mmrec_jax.tokenizers.morphemes import Boundaries, token_morphemes
from mmrec_jax.tokenizers.pair_counts import ALIGNED, pair_key
from mmrec_jax.tokenizers.stage_learning import learn_stage
from mmrec_jax.tokenizers.superwords import (
    superword_expression,
    superword_symbols,
)
from mmrec_jax.tokenizers.text_pieces import text_size
from mmrec_jax.tokenizers.vocabulary import Vocabulary
from mmrec_jax.tokenizers.word_counting import count_words
from mmrec_jax.tokenizers.word_table import WordTable, split_words

# A pair that occurs less often says nothing about other text.
_SUBWORD_OCCURRENCES, _SUPERWORD_OCCURRENCES = 2, 4
_UNIT = 10  # weight of a word of the largest file, where files are weighted

# A stage's name, how far it is, and how far it goes.
OnProgress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class ExtensionPlan:
    """What to learn.

    Attributes:
      base: the tokenizer to extend.
      files: the text, see `text_pieces`.
      field: of JSON lines.
      vocab_size: new tokens in all.
      superwords: how many of them are superwords.
      balance: every file counts as the size of its text to the power of this; 1: every word counts
        the same, 0: every file does.
      protected: texts whose ids must stay what they are.
      boundaries: where the morphemes of a word begin, or None; see `token_morphemes`.
    """

    base: BpeFile
    files: Sequence[Path]
    field: str
    vocab_size: int
    superwords: int
    balance: float
    protected: Sequence[str]
    boundaries: Boundaries | None

    def __post_init__(self) -> None:
        if self.vocab_size < 1:
            raise UserError(f"--vocab-size is {self.vocab_size}; it must be at least 1")
        if not 0 <= self.superwords < self.vocab_size:
            raise UserError(
                f"--superwords is {self.superwords}; it must be at least 0 and below "
                f"--vocab-size = {self.vocab_size}, which counts them too"
            )
        if not 0 <= self.balance <= 1:
            raise UserError(f"--balance is {self.balance}; it must be from 0 to 1")
        if self.superwords:
            superword_expression(self.base)

    def text_sizes(self) -> list[int]:
        """The bytes of text in each file."""
        return [text_size(path, self.field) for path in self.files]

    def weighted_files(self, text_sizes: Sequence[int]) -> list[tuple[Path, int]]:
        """Each file and what a word of it counts."""
        if self.balance == 1:
            return [(path, 1) for path in self.files]
        sizes = [max(size, 1) for size in text_sizes]
        weights = [round(_UNIT * (max(sizes) / size) ** (1 - self.balance)) for size in sizes]
        return list(zip(self.files, weights, strict=True))


def learn_extension(plan: ExtensionPlan, state: LearningState, report: OnProgress) -> Vocabulary:
    """Learns the tokens of `plan`; a call with a used `state` continues.

    Raises:
      UserError: a file is broken, or the text has too few pairs.
    """
    expression = superword_expression(plan.base) if plan.superwords else None
    tokenizer = load_tokenizer(plan.base.extended([], [], expression))
    sizes = plan.text_sizes()
    total = sum(sizes)
    files = plan.weighted_files(sizes)
    text = count_words(
        files, plan.field, tokenizer, state, lambda n: report("counting words", n, total)
    )
    if not (text.order >= 0).any():
        raise UserError("--text: there is no text in it")
    least = min(weight for _, weight in files)
    once = least if plan.boundaries is None else least * ALIGNED
    vocabulary = Vocabulary(plan.base)
    inside, across = _protected_pairs(plan.protected, tokenizer)
    subwords = plan.vocab_size - plan.superwords
    try:
        words = _saved_symbols(state, "subwords", vocabulary)
        if words is None:
            words = _word_symbols(text.table, plan.boundaries, vocabulary)
        words = learn_stage(
            "subword",
            vocabulary,
            words,
            subwords,
            inside,
            _SUBWORD_OCCURRENCES * once,
            lambda n: report("subwords", n, subwords),
            lambda symbols: _save_symbols(state, "subwords", vocabulary, symbols),
        )
        if plan.superwords:
            joined = _saved_symbols(state, "superwords", vocabulary)
            if joined is None:
                joined = superword_symbols(words, text, vocabulary)
            learn_stage(
                "superword",
                vocabulary,
                joined,
                plan.vocab_size,
                across,
                _SUPERWORD_OCCURRENCES * least,
                lambda n: report("superwords", n - subwords, plan.superwords),
                lambda symbols: _save_symbols(state, "superwords", vocabulary, symbols),
            )
    except OutOfPairs:
        raise _too_large(plan, vocabulary) from None
    return vocabulary


def _too_large(plan: ExtensionPlan, vocabulary: Vocabulary) -> UserError:
    found = vocabulary.new_tokens - (plan.vocab_size - plan.superwords)
    if found < 0:
        return UserError(
            f"--vocab-size is {plan.vocab_size}; this text supports at most "
            f"{vocabulary.new_tokens:,} subwords (pairs that occur twice): give more text or a "
            "smaller vocabulary"
        )
    return UserError(
        f"--superwords is {plan.superwords}; this text supports at most {found:,}: give more text "
        "or fewer superwords"
    )


def _word_symbols(
    table: WordTable, boundaries: Boundaries | None, vocabulary: Vocabulary
) -> Symbols:
    ids, offsets, counts = table.words()
    morphemes = None
    if boundaries is not None:
        morphemes = token_morphemes(ids, offsets, vocabulary.tokens, boundaries)
    return word_symbols(ids, offsets, counts, morphemes)


def _save_symbols(
    state: LearningState, stage: str, vocabulary: Vocabulary, symbols: Symbols
) -> None:
    arrays = {"learned": vocabulary.as_array(), **dataclasses.asdict(symbols)}
    state.save(stage, {name: array for name, array in arrays.items() if array is not None})


def _saved_symbols(state: LearningState, stage: str, vocabulary: Vocabulary) -> Symbols | None:
    """What was left to merge when the stage was last saved; its merges enter the vocabulary."""
    saved = state.load(stage)
    if saved is None:
        return None
    vocabulary.learn_again(saved.pop("learned")[len(vocabulary.learned) :])
    return Symbols(**saved)


def _protected_pairs(
    texts: Iterable[str], tokenizer: tokenizers.Tokenizer
) -> tuple[set[int], set[int]]:
    """The pairs of tokens inside the words of some texts, and of a word's end and the next word."""
    inside: set[int] = set()
    across: set[int] = set()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        before = np.zeros(0, np.int32)
        for data in split_words(encoding):
            word: NDArray[np.int32] = np.frombuffer(data, np.int32)
            pairs = zip(word[:-1].tolist(), word[1:].tolist(), strict=True)
            inside.update(pair_key(left, right) for left, right in pairs)
            if len(before) and len(word) == 1:
                across.add(pair_key(int(before[-1]), int(word[0])))
            before = word
    return inside, across


def text_sha256(files: Iterable[Path]) -> str:
    """sha256 (hex) of the bytes of some files, in order.

    Raises:
      UserError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()
