"""Words of a treebank in the scheme of the Turkish Web Treebank, with their annotation."""

import dataclasses
from collections.abc import Iterator

from mmrec_jax.data.word_groups import word_groups
from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.roots import RootClass

_NOMINAL = frozenset(["NOUN", "ADJ", "PRON", "NUM"])


@dataclasses.dataclass(frozen=True)
class AnnotatedWord:
    """One word.

    Attributes:
      word: as it is written.
      lemma: of its root, in lower case.
      root_class: of its root, as `suffixes.py` has it.
      boundaries: where its derivational groups begin, the first one left out.
      part: part of speech of its last group, such as "NOUN".
      annotation: the features of its last group, as in the file.
    """

    word: str
    lemma: str
    root_class: RootClass
    boundaries: tuple[int, ...]
    part: str
    annotation: str

    @property
    def nominal(self) -> tuple[str, str, str]:
        """Number, possessive and case, "" where it has none; "Bare" is "Nom"."""
        values: dict[str, str] = {}
        for entry in self.annotation.split("|"):
            name, _, value = entry.partition("=")
            values.setdefault(name, value)  # a predicate has two numbers: the noun's comes first
        case, number = values.get("Case", ""), values.get("PersonNumber", "")
        return (
            number if number.startswith("A") else "",
            values.get("Possessive", ""),
            "Nom" if case == "Bare" else case,
        )


def annotated_words(conllu: str, name: str) -> Iterator[AnnotatedWord]:
    """The words of an annotated text that have a letter, in their order; see `word_groups`."""
    for groups in word_groups(conllu, name):
        if any(letter.isalpha() for letter in groups[0][1]):
            yield _word(groups)


def _word(groups: list[list[str]]) -> AnnotatedWord:
    boundaries, place = [], 0
    for row in groups[:-1]:
        place += len(row[1])
        boundaries.append(place)
    part, tag = groups[0][3], groups[0][4]
    root_class: RootClass = "X"
    if part in _NOMINAL or tag == "NOMP":
        root_class = "N"
    elif part == "VERB":
        root_class = "V"
    return AnnotatedWord(
        word="".join(row[1] for row in groups),
        lemma=lower(groups[0][2]),
        root_class=root_class,
        boundaries=tuple(boundaries),
        part=groups[-1][3],
        annotation=groups[-1][5],
    )
