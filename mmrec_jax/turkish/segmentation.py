"""What the segmenter says of a word."""

import dataclasses
from typing import NamedTuple

from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.nominal import Nominal, nominal_of
from mmrec_jax.turkish.roots import RootClass
from mmrec_jax.turkish.suffixes import Kind
from mmrec_jax.turkish.vowels import FRONT, last_vowel

# Derivations whose result stands in a dictionary: önem-li, göz-lük, temiz-le-, bit-ir-.
_LEXICAL = "With Wout Ness Agt Rtd Dim Foll Doct Rcpl Make Acq Bcm Cau Rcp Rfx Inh Res"
LEXICAL = frozenset(_LEXICAL.split())


class Morph(NamedTuple):
    """A suffix in a word.

    Attributes:
      start: index of its first letter in the word (of its buffer letter, where it has one).
      end: index behind its last letter.
      text: its letters as they stand in the word.
      template: the same with `A` and `H` where vowel harmony chooses: `lAr` of `lar`.
      label: its name, such as "With" or "Loc" (`suffixes.py`).
      kind: of the boundary before it: "derivation" or "inflection".
    """

    start: int
    end: int
    text: str
    template: str
    label: str
    kind: Kind


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """A word as a root and suffixes.

    Attributes:
      word: as it was given.
      end: index behind the root's last letter.
      root_class: "N" nominal, "V" verb, "X" hardly inflected.
      lemma: the root's dictionary form, a verb's without -mek; in lower case.
      suffixes: in their order, without gaps but for an apostrophe.
    """

    word: str
    end: int
    root_class: RootClass
    lemma: str
    suffixes: tuple[Morph, ...]

    @property
    def root(self) -> str:
        """The root as it is written in the word."""
        return self.word[: self.end]

    def boundaries(self, kind: Kind | None = None) -> tuple[int, ...]:
        """Where suffixes begin: all, or those of one kind."""
        return tuple(x.start for x in self.suffixes if kind is None or x.kind == kind)

    @property
    def dictionary_form(self) -> str:
        """The word without inflection as a dictionary lists it: `kitapçı` of `kitapçılarda`.

        The root with the derivations that make words (`LEXICAL`), up to the first suffix that is
        none of them; in lower case, a verb's without -mek.
        """
        form = self.lemma
        for place, morph in enumerate(self.suffixes):
            if morph.label not in LEXICAL:
                break
            form = lower(self.word[: morph.end])
            if morph.template.endswith("ğ"):
                form = form[:-1] + "k"
            following = self.suffixes[place + 1 : place + 2]
            if morph.template == "l" and following and following[0].template == "Hyor":
                form += "e" if last_vowel(form) in FRONT else "a"
        return form

    @property
    def nominal(self) -> Nominal:
        """Number, possessive and case, behind the last derivation."""
        return nominal_of((morph.label, morph.kind) for morph in self.suffixes)
