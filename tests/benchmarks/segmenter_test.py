"""Gold files of morphology are read as they are meant, and shares are of what they say."""

import itertools

from benchmarks import segmenter as measures
from benchmarks.segmenter import inflected_forms, lemmas, rule_pairs
from mmrec_jax.data.treebank import Word


def _file(folder, name, *rows):
    path = folder / name
    path.write_text("\n".join([*("\t".join(row.split()) for row in rows), ""]), "utf-8")
    return path


def _noun(word, boundaries, case, part="NOUN"):
    groups = [word[i:j] for i, j in itertools.pairwise((0, *boundaries, len(word)))]
    features = f"PersonNumber=A3sg|Possessive=Pnon|Case={case}"
    return Word([["1", group, word, part, "NN", features] for group in groups])


def test_gold_files(tmp_path):
    rows = ("1-2 evdeydi _ _ _ _ _ _ _ _", "1 evde ev _ _ _ _ _ _ _", "2 , , _ _ _ _ _ _ _")
    assert lemmas(_file(tmp_path, "a.conllu", *rows)) == [("evde", "ev")]
    path = _file(tmp_path, "phonology-consonant_drop.tsv", "X ev+SH ev+H")
    assert rule_pairs(path) == ("consonant_drop", [("ev+SH", "ev+H")])
    for row in ("ev EVDE N;LOC;SG", "ev N;LOC(SG) EVDE"):  # of 2018 and of 2023
        assert inflected_forms(_file(tmp_path, "a.tsv", row, row)) == ["evde"]


def test_shares():
    # Ours: kitap|çı, ev|de|ki has one derivation, at 4.
    score = measures.derivations([_noun("kitapçı", (5,), "Nom"), _noun("evdeki", (2, 4), "Nom")])
    assert (score.ours, score.gold, score.both) == (2, 3, 2)
    assert (score.precision, score.recall, score.f1) == (1, 2 / 3, 4 / 5)
    words = [_noun("evde", (), "Loc"), _noun("evden", (), "Loc"), _noun("evde", (), "Loc", "ADJ")]
    assert measures.nominal_shares(measures.nouns_of(words)) == (0.5, 1, 1, 0.5)
    assert measures.lemma_share([("KİTAPÇIDA", "Kitapçı"), ("evde", "evde")]) == 0.5
    misses = [("ev+DA", "ev+Da", "ev+De")]
    assert measures.misspelt("vowel_harmony", [("ev+lAr", "ev+ler"), misses[0][:2]]) == misses
    assert measures.inharmonic(["evlar", "evler"]) == {"evlar"}
