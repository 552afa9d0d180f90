import math

import pytest

from mmrec_jax.turkish.roots import Lexicon, stem_shapes


@pytest.mark.parametrize(
    ("lemma", "root_class", "expected"),
    [
        ("ev", "N", "ev"),
        ("kitap", "N", "kitap kitab"),
        ("renk", "N", "renk reng"),
        ("katalog", "N", "katalog kataloğ"),
        ("oğul", "N", "oğul oğl"),
        ("kayıp", "N", "kayıp kayb kayp kayıb"),
        ("hak", "N", "hak hakk hağ"),
        ("su", "N", "su suy"),
        ("gel", "V", "gel"),
        ("git", "V", "git gid"),
        ("anla", "V", "anla anl"),
        ("de", "V", "de d di"),
    ],
)
def test_the_forms_of_a_stem(lemma, root_class, expected):
    assert [letters for letters, _ in stem_shapes(lemma, root_class)] == expected.split()


def test_ends_say_what_may_follow():
    assert [end.last for _, end in stem_shapes("kitap", "N")] == ["t", "g"]
    assert [end.last for _, end in stem_shapes("anla", "V")] == ["v", "y"]
    assert [end.front for _, end in stem_shapes("saat", "N")] == [True, False, True]
    assert [end.front for _, end in stem_shapes("futbol", "N")] == [False, True]
    assert not stem_shapes("sanat", "N")[0][1].front


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon({("kitap", "N"): 6, ("ev", "N"): 1, ("gel", "V"): 2, ("git", "V"): 1})


def test_a_root_is_found_by_each_of_its_forms(lexicon):
    assert [root.lemma for root in lexicon.known("kitab")] == ["kitap"]
    assert [root.lemma for root in lexicon.known("gid")] == ["git"]
    assert lexicon.known("kita") == []


def test_seen_and_unseen_roots_of_a_class_have_its_share(lexicon):
    """6 of 10 words are the noun `kitap`, 7 a noun; one noun in 7 was seen once."""
    (book,) = lexicon.known("kitap")
    assert book.cost == pytest.approx(-math.log(5.5 * (6 / 7) / 10))
    unknown = lexicon.unknown_costs("x", "N", math.inf)
    assert unknown[0] == pytest.approx(-math.log(1 / 10))


def test_a_spelling_like_those_seen_is_likelier(lexicon):
    costs = {word: lexicon.unknown_costs(word, "N", math.inf)[-1] for word in ("kitap", "qwxjz")}
    assert costs["kitap"] < costs["qwxjz"]


def test_the_costs_of_prefixes_are_those_of_the_words(lexicon):
    prefixes = lexicon.unknown_costs("evler", "V", math.inf)
    assert len(prefixes) == 6
    for length in range(1, 6):
        assert prefixes[length] == lexicon.unknown_costs("evler"[:length], "V", math.inf)[-1]
    assert len(lexicon.unknown_costs("evler", "V", prefixes[2])) < 6
