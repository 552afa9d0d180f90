import pytest

from mmrec_jax.turkish.nominal import nominal_of


@pytest.mark.parametrize(
    ("suffixes", "expected"),
    [
        ([], ("A3sg", "Pnon", "Nom")),
        ([("A3pl", "inflection"), ("P1sg", "inflection")], ("A3pl", "P1sg", "Nom")),
        ([("P3pl", "inflection"), ("Gen", "inflection")], ("A3sg", "P3pl", "Gen")),
        ([("Loc", "inflection"), ("Rel", "derivation")], ("A3sg", "Pnon", "Nom")),
        ([("Agt", "derivation"), ("A3pl", "inflection")], ("A3pl", "Pnon", "Nom")),
        # Labels that are none of them: a copula and a verb's tense.
        ([("PastCop", "inflection"), ("Prog", "inflection")], ("A3sg", "Pnon", "Nom")),
    ],
)
def test_inflection_behind_the_last_derivation(suffixes, expected):
    assert nominal_of(suffixes) == expected
