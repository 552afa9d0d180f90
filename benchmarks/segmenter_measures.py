"""What the Turkish segmenter and the phonology get right of annotated words."""

import dataclasses
import time
from collections.abc import Iterable, Sequence

from mmrec_jax.turkish.counts import AnnotatedWord
from mmrec_jax.turkish.harmony import harmony
from mmrec_jax.turkish.letters import lower
from mmrec_jax.turkish.phonology import apply_rules
from mmrec_jax.turkish.segmenter import segment, treebank_segmenter


@dataclasses.dataclass(frozen=True)
class DerivationScore:
    """Counts of derivational boundaries over running words: ours, the annotation's, common ones."""

    ours: int
    gold: int
    both: int

    @property
    def precision(self) -> float:
        """The share of ours that are annotated."""
        return self.both / self.ours

    @property
    def recall(self) -> float:
        """The share of the annotated ones that are ours."""
        return self.both / self.gold

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.both / (self.ours + self.gold)


def derivations(words: Iterable[AnnotatedWord]) -> DerivationScore:
    """Compares the derivational boundaries of some words with their annotation."""
    ours = gold = both = 0
    for word in words:
        found = set(segment(word.word).boundaries("derivation"))
        ours += len(found)
        gold += len(word.boundaries)
        both += len(found & set(word.boundaries))
    return DerivationScore(ours, gold, both)


def nouns_of(words: Iterable[AnnotatedWord]) -> list[AnnotatedWord]:
    """The words whose last group is a noun."""
    return [word for word in words if word.part == "NOUN"]


def nominal_shares(nouns: Sequence[AnnotatedWord]) -> tuple[float, float, float, float]:
    """Of how many nouns number, possessive and case are all right, and each of them alone."""
    pairs = [(segment(word.word).nominal, word.nominal) for word in nouns]
    together = sum(ours == gold for ours, gold in pairs)
    number, possessive, case = (
        sum(ours[part] == gold[part] for ours, gold in pairs) / len(nouns) for part in range(3)
    )
    return together / len(nouns), number, possessive, case


def lemma_share(lemmas: Sequence[tuple[str, str]]) -> float:
    """The share of (word, lemma) whose dictionary form is the lemma, in lower case."""
    right = sum(segment(word).dictionary_form == lower(lemma) for word, lemma in lemmas)
    return right / len(lemmas)


def words_per_second(words: Sequence[str]) -> tuple[float, float]:
    """Running and distinct words segmented in a second of processor time, the lexicon in memory.

    A word that comes again is remembered. To be called before any other measure, while nothing is.
    """
    segmenter = treebank_segmenter()
    begin = time.process_time()
    for word in words:
        segmenter.segment(word)
    seconds = time.process_time() - begin
    return len(words) / seconds, len(set(words)) / seconds


def misspelt(rule: str, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The (lexical form, what a rule makes of it) that ours does not, with what ours makes."""
    made = ((lexical, gold, apply_rules(lexical, [rule])) for lexical, gold in pairs)
    return [(lexical, gold, ours) for lexical, gold, ours in made if ours != gold]


def inharmonic(words: Iterable[str]) -> set[str]:
    """The words that break vowel harmony by our rules."""
    return {word for word in words if not all(vowel.holds for vowel in harmony(word))}
