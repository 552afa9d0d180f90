import math

import pytest

from mmrec_jax.turkish.counts import (
    annotated_nominal,
    arc_costs,
    count_arcs,
    count_roots,
    root_of,
    treebank_words,
    words_with_letters,
)
from mmrec_jax.turkish.suffixes import STATES, inventory

# In the scheme of the treebank, with a plural of the second group.
CONLLU = "\n".join(
    [
        "# text = Evdekileri önemli kaldı.",
        "1\tEvde\tev\tNOUN\tNN\tPersonNumber=A3sg|Possessive=Pnon|Case=Loc\t2\tig\t_\t_",
        "2\tkileri\t_\tNOUN\tNN\tDerivation=Rel|PersonNumber=A3pl|Possessive=Pnon|Case=Acc\t4\tdobj\t_\t_",
        "3\tönem\tönem\tNOUN\tNN\tPersonNumber=A3sg|Possessive=Pnon|Case=Bare\t4\tig\t_\t_",
        "4\tli\t_\tADJ\tJJ\tDerivation=With\t5\tamod\t_\t_",
        "5\tkaldı\tkal\tVERB\tVB\tPolarity=Pos|PersonNumber=V3sg\t0\troot\t_\t_",
        "6\t.\t.\tPUNCT\t.\t_\t5\tp\t_\t_",
        "",
    ]
)


def test_groups_are_joined_to_words():
    house, weighty, stayed = words = list(words_with_letters(CONLLU, "made_up.conllu"))
    assert (house.form, *root_of(house)) == ("Evdekileri", "ev", "N")
    assert house.boundaries == (4,)
    assert annotated_nominal(house) == ("A3pl", "Pnon", "Acc")
    assert (weighty.form, weighty.boundaries, weighty.part) == ("önemli", (4,), "ADJ")
    assert (root_of(stayed)[1], annotated_nominal(stayed)) == ("V", ("", "", ""))
    assert count_roots(words) == {("ev", "N"): 1, ("önem", "N"): 1, ("kal", "V"): 1}


def test_the_arcs_of_annotated_words_are_counted():
    counts = count_arcs(words_with_letters(CONLLU, "made_up.conllu"))
    taken = "N-DA-Loc NC-ki-Rel NK-lAr-A3pl NP-YH-Acc NE-- N-lH-With N-- V-DH-Past VT--"
    assert {"-".join(arc): count for arc, count in counts.items()} == dict.fromkeys(
        taken.split(), 1
    )


def test_a_boundary_must_be_a_derivation():
    moved = CONLLU.replace("önem\tönem", "öne\töne").replace("\tli\t_", "\tmli\t_")
    assert ("N", "lH", "With") not in count_arcs(words_with_letters(moved, "made_up.conllu"))


def test_the_treebank_is_read_whole_and_has_counts_of_all_persons():
    words = list(treebank_words())
    assert (len(words), sum(len(word.boundaries) for word in words)) == (33740, 8981)
    counts = count_arcs(words)
    assert len(counts) == 203
    # Counted, and raised to a share of the third person.
    assert counts["N", "SH", "P3sg"] == 3768
    assert counts["N", "Hm", "P1sg"] == round(0.1 * 3768)


def test_costs_are_the_smoothed_shares():
    costs = arc_costs({("NK", "lAr", "A3pl"): 3.0, ("NK", "", ""): 1.0})
    ways = sum("NK" in suffix.sources for suffix in inventory()) + 1
    assert costs["NK", "lAr", "A3pl"] == pytest.approx(-math.log(3.3 / (4 + 0.3 * ways)))
    for state in STATES:
        arcs = [(state, x.form, x.label) for x in inventory() if state in x.sources]
        shares = [math.exp(-costs[arc]) for arc in [*arcs, (state, "", "")]]
        assert sum(shares) == pytest.approx(1)
