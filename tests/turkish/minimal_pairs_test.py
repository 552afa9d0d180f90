import re

import pytest

from benchmarks.minimal_pairs import CATEGORIES, FOLDER, content, minimal_pairs
from mmrec_jax.data.split import fixed_split
from mmrec_jax.data.treebank import treebank_documents

_LEAST = {"vowel_harmony": 450, "suffix_order": 150, "case": 40, "agreement": 150}
_VOWEL = re.compile("[aeıioöuüâû]")
_PARTICLES = dict(zip("aeıioöuü", ["mı", "mi", "mı", "mi", "mu", "mü", "mu", "mü"], strict=True))


def _words(category):
    """The words that differ."""
    for pair in minimal_pairs(category):
        right, wrong = pair.right.split(" "), pair.wrong.split(" ")
        (differing,) = ((x, y) for x, y in zip(right, wrong, strict=True) if x != y)
        yield tuple(re.sub(r"^[^\w]+|[^\w']+$", "", x) for x in differing)


@pytest.mark.parametrize("category", CATEGORIES)
def test_pairs_are_held_out_sentences_with_one_other_word(category):
    held_out = {
        sentence
        for document in treebank_documents()
        if fixed_split(document.name) != "train"
        for sentence in document.text.split("\n")
    }
    pairs = minimal_pairs(category)
    assert (FOLDER / f"{category}.jsonl").read_text("utf-8") == content(category)
    assert len(pairs) >= _LEAST.get(category, 100)
    assert len(list(_words(category))) == len(pairs)
    for pair in pairs:
        assert {pair.right, re.sub(r" m[ıiuü]\?$", ".", pair.right)} & held_out


def test_suffixes_have_the_vowels_of_the_other_class():
    backness = dict(zip("aeıioöuü", [0, 1] * 4, strict=True)) | {"â": 0, "û": 0}
    regular = []
    for right, wrong in _words("vowel_harmony"):
        differing = [i for i, (x, y) in enumerate(zip(right, wrong, strict=True)) if x != y]
        for i in differing:
            assert {right[i], wrong[i]} in ({"a", "e"}, {"ı", "i"}, {"u", "ü"})
        stem = _VOWEL.findall(right[: differing[0]])[-1]
        regular.append(backness[stem] == backness[right[differing[0]]])
    assert sum(regular) >= 0.95 * len(regular)  # others are exceptions, such as saat-ler


def test_the_particle_follows_the_last_vowel():
    for pair in minimal_pairs("question_particle"):
        *before, word, particle = pair.right.split(" ")
        assert particle == _PARTICLES[_VOWEL.findall(word)[-1]] + "?"
        others = {f"{x}?" for x in _PARTICLES.values()} - {particle}
        assert pair.wrong.split(" ")[-1] in others
        assert pair.wrong.split(" ")[:-1] == [*before, word]


def test_words_that_break_a_rule():
    expected = {
        "suffix_order": {("tarihinde", "tarihtesi"), ("bileşenlerine", "bileşenilere")},
        "case": {("sıraya", "sırayı"), ("2014'ten", "2014'te"), ("dünyaya", "dünyayı")},
        "agreement": {("boyunun", "boyumun"), ("tamamladı", "tamamladım"), ("çıkar", "çıkarım")},
    }
    for category, pairs in expected.items():
        assert pairs <= set(_words(category))
    # A consonant and an accusative is a possessive, too: a subject, beside a verb.
    assert not {"meydanı", "evi", "başı"} & {wrong for _, wrong in _words("case")}
