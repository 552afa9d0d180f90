import math

import pytest

from mmrec_jax.turkish.lexicon import Lexicon, count_roots
from tests.turkish.annotated_word_test import CONLLU


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon({("kitap", "N"): 6, ("ev", "N"): 1, ("gel", "V"): 2, ("git", "V"): 1})


def test_roots_are_those_of_the_words():
    assert count_roots(CONLLU, "made_up.conllu") == {
        ("ev", "N"): 1,
        ("önem", "N"): 1,
        ("kal", "V"): 1,
    }


def test_a_root_is_found_by_each_of_its_shapes(lexicon):
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


def test_the_prices_of_prefixes_are_those_of_the_words(lexicon):
    prefixes = lexicon.unknown_costs("evler", "V", math.inf)
    assert len(prefixes) == 6
    for length in range(1, 6):
        alone = lexicon.unknown_costs("evler"[:length], "V", math.inf)
        assert prefixes[length] == alone[-1]
    assert len(lexicon.unknown_costs("evler", "V", prefixes[2])) < 6
