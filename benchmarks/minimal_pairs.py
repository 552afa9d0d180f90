"""Minimal pairs: a sentence of the treebank and the same one with one word that breaks a rule.

    python -m benchmarks.minimal_pairs

makes the files of the tasks `turkish_pairs` (`mmrec_jax/evaluation/turkish_pairs`) anew. They are
kept, so that what is measured stays the same when the grammar of this package becomes better.

The rules are those of this package, what is broken is known from the treebank's annotation:

| category | right | wrong |
|---|---|---|
| `vowel_harmony` | evlerinde | evlarında: the suffixes of a word of the other class |
| `suffix_order` | evinde, evlerimiz | evdesi, evimizler: two suffixes in the other order |
| `case` | buna göre, tarihten itibaren | bunu göre, tarihte itibaren: a case that is not governed |
| `agreement` | evin kapısı; çocuk geldi | evin kapım; çocuk geldim: not the noun's person |
| `question_particle` | geldi mi? | geldi mı? |

Sentences are of the documents that are never trained on (`data.split.fixed_split`).
"""

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.split import fixed_split
from mmrec_jax.data.treebank import Word, annotated_words, treebank_sentences
from mmrec_jax.turkish.harmony import harmony
from mmrec_jax.turkish.letters import follow, last_vowel, lower
from mmrec_jax.turkish.phonology import realise
from mmrec_jax.turkish.segmenter import Segmentation, segment

FOLDER = Path(__file__).parents[1] / "mmrec_jax" / "evaluation" / "turkish_pairs"
_FLIPPED = dict(zip("aeıiuü", "eaiıüu", strict=True))
# Beside these an accusative for the dative, or a locative for the ablative, has no other reading.
_WITH_DATIVE = "göre rağmen karşı ait dair ilişkin yönelik dek değin özgü sahip"
_MOVES = "başla git gel ulaş katıl gir dön benze bak in bin dönüş yaklaş rastla saldır yerleş"
_WITH_ABLATIVE = "dolayı itibaren beri ötürü"
_KIN = "anne baba abla abi ağabey teyze amca dayı hala dede nine kardeş"  # whose annemler is right
_CASES = {"Acc": "YH", "Dat": "YA", "Loc": "DA", "Abl": "DAn", "Gen": "NHn", "Ins": "YlA"}
_POSSESSIVES = {"P1sg": "Hm", "P2sg": "Hn", "P3sg": "SH", "P1pl": "HmHz", "P2pl": "HnHz"}
_TENSES = frozenset({"Past", "Aor", "Prog1", "Nar"})
_UNSTABLE = frozenset("pçtkbcdğg")  # ends of a stem that change with the suffix behind them


@dataclasses.dataclass(frozen=True)
class MinimalPair:
    """Two sentences that differ in one word, or in the question particle at their end."""

    right: str
    wrong: str


@dataclasses.dataclass(frozen=True)
class _Word(Word):
    start: int  # index of its first letter in the sentence
    head: int  # index of the word that its last group depends on; -1: the root

    @property
    def is_common(self) -> bool:
        """A word in lower-case letters, of which the annotation says how it is inflected."""
        plain = self.form.isalpha() and self.form == lower(self.form)
        return plain and self.features.get("Proper") == "False"


class _Sentence(NamedTuple):
    name: str
    text: str
    words: list[_Word]


# The wrong form of the word of this index, if the rule applies to it.
_Rule = Callable[[_Sentence, int], str | None]


def minimal_pairs(category: str) -> list[MinimalPair]:
    """The pairs of one of `CATEGORIES`, at most one of a sentence, always the same.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its files are gone.
    """
    found = (_pair(category, sentence) for sentence in _sentences())
    return [pair for pair in found if pair is not None]


def _pair(category: str, sentence: _Sentence) -> MinimalPair | None:
    """Of the first word that the rule applies to, from one on that the sentence's name chooses."""
    count = len(sentence.words)
    for step in range(count):
        index = (hashed_seed(sentence.name) + step) % count
        wrong = CATEGORIES[category](sentence, index)
        if wrong is None:
            continue
        word, text = sentence.words[index], sentence.text
        before, rest = text[: word.start], text[word.start + len(word.form) :]
        if category == "question_particle":
            before, rest = f"{before}{word.form} ", "?"
            return MinimalPair(before + follow(word.form, "mH") + rest, before + wrong + rest)
        return MinimalPair(text, before + wrong + rest)
    return None


@functools.cache
def _sentences() -> tuple[_Sentence, ...]:
    """Those that are not trained on, in the order of the files."""
    return tuple(
        _sentence(each.name, list(annotated_words(each.conllu, each.name)))
        for each in treebank_sentences()
        if fixed_split(each.document) != "train"
    )


def _sentence(name: str, found: Sequence[Word]) -> _Sentence:
    number = {group[0]: index for index, word in enumerate(found) for group in word.groups}
    words, text = [], ""
    for word in found:
        last = word.groups[-1]
        words.append(_Word(word.groups, len(text), number.get(last[6], -1)))
        text += word.form if "SpaceAfter=No" in last[9] else word.form + " "
    return _Sentence(name, text.rstrip(), words)


@functools.cache
def _known_forms() -> frozenset[str]:
    """All words of the treebank, in lower case."""
    found = (annotated_words(each.conllu, each.name) for each in treebank_sentences())
    return frozenset(lower(word.form) for words in found for word in words)


def _vowel_harmony(sentence: _Sentence, index: int) -> str | None:
    """Every vowel of its suffixes is the one that stands after a vowel of the other class."""
    word = sentence.words[index]
    vowels = harmony(word.form) if word.is_common else ()
    harmonic = itertools.takewhile(lambda vowel: vowel.rule is not None, vowels)
    places = [vowel.index for vowel in harmonic]
    if not places or not all(x.holds for x in vowels) or places[0] < len(word.lemma):
        return None
    wrong = "".join(_FLIPPED[x] if i in places else x for i, x in enumerate(word.form))
    known = wrong in _known_forms() or all(x.holds for x in harmony(wrong))
    return None if known else wrong


def _suffix_order(sentence: _Sentence, index: int) -> str | None:
    """The possessive before the plural, or the case before the possessive."""
    word = sentence.words[index]
    found = _inflected(word)
    labels = [morph.label for morph in found.suffixes] if found else []
    at = next((i for i, label in enumerate(labels) if label in _POSSESSIVES), None)
    if found is None or at is None or found.lemma in _KIN.split():
        return None
    forms = [_POSSESSIVES[labels[at]], *(_CASES[x] for x in labels[at + 1 :] if x in _CASES)]
    if at and labels[at - 1] == "A3pl":
        forms.insert(1, "lAr")
        at -= 1
    elif len(forms) == 2:
        forms.reverse()
    else:
        return None
    stem = word.form[: found.suffixes[at].start]
    if stem[-1] in _UNSTABLE or (not at and stem != found.lemma):
        return None
    wrong = realise("+".join([stem, *forms]))
    known = wrong in _known_forms() or segment(wrong).lemma == found.lemma
    return None if known else wrong


def _case(sentence: _Sentence, index: int) -> str | None:
    """An accusative for a governed dative, a locative for a governed ablative."""
    word = sentence.words[index]
    form, case = word.form, word.features.get("Case")
    if word.head < 0 or word.part not in ("NOUN", "ADJ"):
        return None
    governor = sentence.words[word.head]
    lemma = governor.lemma
    if case == "Abl" and lemma in _WITH_ABLATIVE.split() and re.search("[dt][ae]n$", form):
        return form[:-1]
    stem = lower(form[:-1])
    if case != "Dat" or not last_vowel(stem) or form[-1] != follow(stem, "A"):
        return None
    causes = any("Derivation=Cau" in row[5] for row in governor.groups)
    if governor.groups[0][3] == "VERB" and lemma in _MOVES.split() and not causes:
        # After a consonant the accusative would be a possessive, too, and the word a subject.
        third = word.features.get("Possessive") in ("P3sg", "P3pl")
        governed = third or form[:-1] == word.lemma + "y"
    else:
        governed = lemma in _WITH_DATIVE.split()
    return form[:-1] + follow(stem, "H") if governed else None


def _agreement(sentence: _Sentence, index: int) -> str | None:
    """The first person on what a third one possesses, or does."""
    word = sentence.words[index]
    nouns = [x for x in sentence.words if x.head == index and x.part == "NOUN"]
    on = {(x.groups[-1][7], x.features.get("Case")) for x in nouns}
    if ("poss", "Gen") in on:
        return _possessed_by_me(word)
    return _done_by_me(word) if on & {("nsubj", "Nom"), ("nsubj", "Bare")} else None


def _possessed_by_me(word: _Word) -> str | None:
    """`kapısında` as `kapımda`."""
    found = _inflected(word)
    suffixes = found.suffixes if found else ()
    at = next((i for i, morph in enumerate(suffixes) if morph.label == "P3sg"), None)
    if at is None or not all(morph.label in _CASES for morph in suffixes[at + 1 :]):
        return None
    # The vowel that the possessive has is that of the first person, too: `burnu`, `burnum`.
    mine = "m" if suffixes[at].text.startswith("s") else suffixes[at].text + "m"
    stem = word.form[: suffixes[at].start] + mine
    return realise("+".join([stem, *(_CASES[morph.label] for morph in suffixes[at + 1 :])]))


def _done_by_me(word: _Word) -> str | None:
    """`geldi` as `geldim`, `gelir` as `gelirim`."""
    if not _is_plain_verb(word):
        return None
    if word.features["TenseAspectMood"] == "Past":
        return word.form + "m"
    return word.form + follow(word.form, "Hm")


def _question_particle(sentence: _Sentence, index: int) -> str | None:
    """The particle with the vowel that stands after a vowel of the other class."""
    last = index == len(sentence.words) - 2 and sentence.words[-1].form == "."
    word = sentence.words[index]
    return "m" + _FLIPPED[follow(word.form, "H")] if last and _is_plain_verb(word) else None


CATEGORIES: Mapping[str, _Rule] = {
    "vowel_harmony": _vowel_harmony,
    "suffix_order": _suffix_order,
    "case": _case,
    "agreement": _agreement,
    "question_particle": _question_particle,
}


def _is_plain_verb(word: _Word) -> bool:
    """A predicate in the third person that has no suffix behind its tense."""
    wanted = {"PersonNumber": "V3sg", "Copula": "PresCop"}
    plain = word.is_common and word.part == "VERB" and wanted.items() <= word.features.items()
    tense = word.features.get("TenseAspectMood")
    negative = word.features.get("Polarity") == "Neg" and tense == "Aor"  # gelmez, but gelmem
    return plain and tense in _TENSES and not negative


def _inflected(word: _Word) -> Segmentation | None:
    """The analysis of a noun that agrees with its annotation."""
    if not word.is_common or word.part != "NOUN":
        return None
    found = segment(word.form)
    gold = [word.features.get(x, "") for x in ("PersonNumber", "Possessive", "Case")]
    agrees = gold == list(found.nominal) and lower(word.lemma) == found.lemma
    return found if agrees else None


def content(category: str) -> str:
    """The file of a category: a pair in each line."""
    pairs = (dataclasses.asdict(pair) for pair in minimal_pairs(category))
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)


def main() -> None:
    """Writes the files."""
    for category in CATEGORIES:
        (FOLDER / f"{category}.jsonl").write_text(content(category), "utf-8")


if __name__ == "__main__":
    main()
