import pytest

from mmrec_jax.turkish.phonology import realise
from mmrec_jax.turkish.suffixes import (
    End,
    end_of,
    inventory,
    nominal_of,
    shapes,
)


@pytest.mark.parametrize("stem", ["kapı", "göz", "taş", "kutu", "el", "okul", "süt"])
def test_suffixes_are_written_as_the_phonology_writes_them(stem):
    """Buffers, dropped vowels and assimilation have two implementations: here and `realise`."""
    compared = 0
    for letters, found in shapes("N", end_of(stem)).items():
        for template, *_ in found:
            if template.last not in ("g", "y"):
                assert stem + letters == realise(f"{stem}+{template.suffix.form}")
                compared += 1
    assert compared > 30


def test_ends():
    assert end_of("kitap") == End(False, False, "t")
    assert end_of("göl") == End(True, True, "d")
    assert end_of("kutu") == End(False, True, "v")


def test_loose_shapes_break_harmony_where_strict_ones_do_not():
    loose = shapes("N", End(True, False, "d"), loose=True)
    broken = {
        letters: loose[letters][0].broken for letters in ("imiz", "ımız", "imuz", "kı", "ist")
    }
    assert broken == {"imiz": 0, "ımız": 1, "imuz": 1, "kı": 1, "ist": 0}
    assert "üst" not in loose
    for state in ("N", "V", "N3"):
        for last in ("v", "d", "t"):
            end = End(True, False, last)
            whole = [
                letters
                for letters, each in shapes(state, end, loose=True).items()
                if not all(x.broken for x in each)
            ]
            assert set(whole) == set(shapes(state, end))


def test_a_softened_end_wants_a_vowel():
    assert not any(letters[0] in "ld" for letters in shapes("N", End(False, False, "g")))
    assert "ı" in shapes("N", End(False, False, "g"))
    assert "ı" not in shapes("N", End(False, False, "k"))


def _readable(letters, state, end):
    """Whether suffixes of the table, in an order that it allows, spell the letters."""
    if not letters:
        return end.last not in ("g", "y")
    return any(
        _readable(letters[stop:], template.suffix.target, after)
        for stop in range(1, len(letters) + 1)
        for template, after, _ in shapes(state, end).get(letters[:stop], ())
    )


@pytest.mark.parametrize(
    ("stem", "state", "right", "wrong"),
    [
        # Lewis (2000), II and VIII: number, possessive, case, then -ki or a copula and a person;
        # voice, ability, negation, tense, copula, person.
        ("ev", "N", "lerimizden lerde dekiler imizdeydik", "dem denimiz demiz imizler delerim"),
        ("göz", "N", "lükçüler ünden üydü", "lerlük lerlü denü dülük dençü ümleri"),
        ("gel", "V", "dirilmemeliydik ebildim medim", "dikti timme ditir diyor dimme lerdi meebil"),
    ],
)
def test_suffixes_have_their_order(stem, state, right, wrong):
    assert [x for x in right.split() if not _readable(x, state, end_of(stem))] == []
    assert [x for x in wrong.split() if _readable(x, state, end_of(stem))] == []


def test_labels_are_unique():
    keys = [(state, x.form, x.label) for x in inventory() for state in x.sources]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("suffixes", "expected"),
    [
        ("", ("A3sg", "Pnon", "Nom")),
        ("A3pl P1sg", ("A3pl", "P1sg", "Nom")),
        ("P3pl Gen", ("A3sg", "P3pl", "Gen")),
        ("Loc |Rel", ("A3sg", "Pnon", "Nom")),
        ("|Agt A3pl", ("A3pl", "Pnon", "Nom")),
        ("PastCop Prog", ("A3sg", "Pnon", "Nom")),  # a copula and a verb's tense
    ],
)
def test_inflection_after_the_last_derivation(suffixes, expected):
    kinds = {True: "derivation", False: "inflection"}
    found = [(label.lstrip("|"), kinds["|" in label]) for label in suffixes.split()]
    assert nominal_of(found) == expected
