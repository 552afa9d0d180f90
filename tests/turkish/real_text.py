"""Real sentences, and versions of them that are wrong in one way each."""

import functools
import random

from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.turkish.segmenter import segment
from mmrec_jax.turkish.words import WORD

_ASCII = str.maketrans("çğıİöşüÇĞÖŞÜâîû", "cgiIosuCGOSUaiu")
# Each vowel to the one of the other backness.
_BROKEN = str.maketrans("aeıiuüAEIİUÜ", "eaiıüuEAİIÜU")


@functools.cache
def sentences() -> tuple[str, ...]:
    """Sentences of web pages, of at least 6 words; always the same ones."""
    texts = [d.text.split("\n")[0] for d in treebank_documents() if d.name.startswith("tr-")]
    return tuple(text for text in texts if len(text.split()) >= 6)[:120]


def asciified(text: str) -> str:
    """Without the letters that English lacks."""
    return text.translate(_ASCII)


def suffixes_shuffled(text: str) -> str:
    """Every word with suffixes gets those of another word of the text."""
    found = [segment(match[0]) for match in WORD.finditer(text)]
    endings = [x.word[x.end :] for x in found if x.suffixes]
    random.Random(0).shuffle(endings)
    waiting = iter(endings)
    shuffled = iter(x.root + next(waiting) if x.suffixes else x.word for x in found)
    return WORD.sub(lambda match: next(shuffled), text)


def harmony_broken(text: str) -> str:
    """The vowels of every suffix on the other side of front and back."""

    def broken(word: str) -> str:
        found = segment(word)
        return word[: found.end] + word[found.end :].translate(_BROKEN)

    return WORD.sub(lambda match: broken(match[0]), text)
