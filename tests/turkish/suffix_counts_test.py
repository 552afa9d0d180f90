import math

import pytest

from mmrec_jax.turkish.annotated_word import annotated_words
from mmrec_jax.turkish.suffix_counts import arc_costs, count_arcs, read_counts
from mmrec_jax.turkish.suffixes import STATES, inventory
from tests.turkish.annotated_word_test import CONLLU


def test_the_arcs_of_annotated_words_are_counted():
    counts = count_arcs(annotated_words(CONLLU, "made_up.conllu"))
    taken = {arc for arc, count in counts.items() if count == 1}
    assert taken >= {
        ("N", "DA", "Loc"),
        ("NC", "ki", "Rel"),
        ("NK", "lAr", "A3pl"),
        ("NP", "YH", "Acc"),
        ("N", "lH", "With"),
        ("V", "DH", "Past"),
    }
    # The ends of the three words.
    assert {arc for arc in counts if not arc[1]} == {("NE", "", ""), ("N", "", ""), ("VT", "", "")}


def test_a_boundary_must_be_a_derivation_and_no_other_place():
    moved = CONLLU.replace("önem\tönem", "öne\töne").replace("\tli\t_", "\tmli\t_")
    assert ("N", "lH", "With") not in count_arcs(annotated_words(moved, "made_up.conllu"))


def test_costs_are_the_smoothed_shares():
    costs = arc_costs({("NK", "lAr", "A3pl"): 3.0, ("NK", "", ""): 1.0})
    ways = sum("NK" in suffix.sources for suffix in inventory()) + 1
    assert costs["NK", "lAr", "A3pl"] == pytest.approx(-math.log(3.3 / (4 + 0.3 * ways)))
    for state in STATES:
        arcs = [(state, x.form, x.label) for x in inventory() if state in x.sources]
        shares = [math.exp(-costs[arc]) for arc in [*arcs, (state, "", "")]]
        assert sum(shares) == pytest.approx(1)


def test_the_table_counts_suffixes_of_the_inventory():
    known = {(state, x.form, x.label) for x in inventory() for state in x.sources}
    known |= {(state, "", "") for state in STATES}
    counts = read_counts()
    assert set(counts) <= known
    assert len(counts) > 150
    assert min(counts.values()) >= 0
    assert counts["N", "SH", "P3sg"] > 1000
