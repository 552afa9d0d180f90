import pytest

from mmrec_jax.turkish.allomorphs import End, end_of, fold, loose_templates, shapes
from mmrec_jax.turkish.phonology import realise
from mmrec_jax.turkish.suffixes import inventory


def _written(stem, state):
    return {
        (shape.template.suffix.form, stem + letters)
        for letters, found in shapes(state, end_of(stem)).items()
        for shape in found
        if shape.template.last != "g" and shape.template.last != "y"
    }


@pytest.mark.parametrize("stem", ["kapı", "göz", "taş", "kutu", "el", "okul", "süt"])
def test_suffixes_are_written_as_the_phonology_writes_them(stem):
    """Buffers, dropped vowels and assimilation have two implementations: here and `realise`."""
    for form, word in _written(stem, "N"):
        assert word == realise(f"{stem}+{form}"), form


def test_ends():
    assert end_of("kitap") == End(False, False, "t")
    assert end_of("göl") == End(True, True, "d")
    assert end_of("kutu") == End(False, True, "v")


def test_all_shapes_of_a_suffix_fold_to_one():
    assert fold("larınızdan") == fold("lerünizden") == "lArHnHzdAn"


def test_loose_templates_are_those_of_the_shapes():
    for state in ("N", "V", "N3"):
        for last in ("v", "d", "t"):
            strict = {fold(letters) for letters in shapes(state, End(True, False, last))}
            assert strict == set(loose_templates(state, last))


def test_a_softened_end_wants_a_vowel():
    assert not any(letters[0] in "ld" for letters in shapes("N", End(False, False, "g")))
    assert "ı" in shapes("N", End(False, False, "g"))
    assert "ı" not in shapes("N", End(False, False, "k"))


def test_labels_are_unique():
    keys = [(state, x.form, x.label) for x in inventory() for state in x.sources]
    assert len(keys) == len(set(keys))
