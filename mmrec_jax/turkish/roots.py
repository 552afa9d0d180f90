"""How a stem changes before suffixes: its shapes, and what each lets follow."""

from typing import Literal, NamedTuple

from mmrec_jax.turkish.allomorphs import End, end_of
from mmrec_jax.turkish.consonants import voice_last
from mmrec_jax.turkish.stem_exceptions import (
    DOUBLED,
    DROPPED_VOWEL,
    EITHER_SUFFIXES,
    FRONT_SUFFIXES,
    VOICED_VERBS,
)
from mmrec_jax.turkish.vowels import VOWELS

RootClass = Literal["N", "V", "X"]


class StemShape(NamedTuple):
    """Letters that a stem may have, and the end that its suffixes see."""

    letters: str
    end: End


def stem_shapes(lemma: str, root_class: RootClass) -> list[StemShape]:
    """The shapes of a stem, its plain one first. `lemma` is in lower case; a verb is its stem.

    `kitap` also has the shape `kitab` (a vowel must follow), `oğul` `oğl`, `hak` `hakk`, the verb
    `anla` `anl` (-iyor must follow), `saat` an end that asks for front suffixes.
    """
    plain = end_of(lemma)
    if root_class == "V":
        return [StemShape(lemma, plain), *_verb_shapes(lemma, plain)]
    shapes = [StemShape(lemma, plain)]
    if lemma in FRONT_SUFFIXES:
        shapes.insert(0, StemShape(lemma, plain._replace(front=True)))
    elif lemma in EITHER_SUFFIXES:
        shapes.append(StemShape(lemma, plain._replace(front=True)))
    first = shapes[0].end
    if lemma in DROPPED_VOWEL:
        short = lemma[:-2] + lemma[-1]  # kayıp, kayb-ı, but vakit, vakt-i
        for letters in dict.fromkeys((voice_last(short), short)):
            shapes.append(StemShape(letters, first._replace(last="g")))
    if lemma in DOUBLED:
        shapes.append(StemShape(DOUBLED[lemma], first._replace(last="g")))
    voiced = voice_last(lemma)
    if voiced != lemma:
        shapes.append(StemShape(voiced, first._replace(last="g")))
    if lemma in ("su", "ne"):
        shapes.append(StemShape(lemma + "y", first._replace(last="g")))
    return shapes


def _verb_shapes(stem: str, end: End) -> list[StemShape]:
    shapes = []
    if stem[-1] in "ae" and len(stem) > 1:
        shorter = end_of(stem[:-1]) if any(x in VOWELS for x in stem[:-1]) else end
        shapes.append(StemShape(stem[:-1], shorter._replace(last="y")))
        if stem in ("de", "ye"):
            shapes.append(StemShape(stem[:-1] + "i", end))
    if stem in VOICED_VERBS or stem.endswith("et"):
        shapes.append(StemShape(voice_last(stem), end._replace(last="g")))
    return shapes
