from benchmarks.segmenter_measures import (
    derivations,
    inharmonic,
    lemma_share,
    misspelt,
    nominal_shares,
    nouns_of,
)
from mmrec_jax.turkish.counts import AnnotatedWord


def _noun(word, boundaries, case, part="NOUN"):
    features = f"PersonNumber=A3sg|Possessive=Pnon|Case={case}"
    return AnnotatedWord(word, word, "N", boundaries, part, features)


def test_derivations_are_counted_over_all_words():
    # Ours: kitap|çı, ev|de|ki has one derivation, at 4.
    score = derivations([_noun("kitapçı", (5,), "Nom"), _noun("evdeki", (2, 4), "Nom")])
    assert (score.ours, score.gold, score.both) == (2, 3, 2)
    assert (score.precision, score.recall, score.f1) == (1, 2 / 3, 4 / 5)


def test_nominals_are_right_together_and_alone():
    words = [_noun("evde", (), "Loc"), _noun("evden", (), "Loc"), _noun("evde", (), "Loc", "ADJ")]
    assert nominal_shares(nouns_of(words)) == (0.5, 1, 1, 0.5)


def test_a_lemma_is_the_dictionary_form():
    assert lemma_share([("KİTAPÇIDA", "Kitapçı"), ("evde", "evde")]) == 0.5


def test_misses_are_told():
    assert misspelt("vowel_harmony", [("ev+lAr", "ev+ler"), ("ev+DA", "ev+Da")]) == [
        ("ev+DA", "ev+Da", "ev+De")
    ]
    assert inharmonic(["evlar", "evler"]) == {"evlar"}
