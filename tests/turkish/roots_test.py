import pytest

from mmrec_jax.turkish.roots import stem_shapes


def _letters(lemma, root_class="N"):
    return [shape.letters for shape in stem_shapes(lemma, root_class)]


@pytest.mark.parametrize(
    ("lemma", "letters"),
    [
        ("ev", ["ev"]),
        ("kitap", ["kitap", "kitab"]),
        ("renk", ["renk", "reng"]),
        ("katalog", ["katalog", "kataloğ"]),
        ("oğul", ["oğul", "oğl"]),
        ("su", ["su", "suy"]),
    ],
)
def test_nominal_stems(lemma, letters):
    assert [x for x in _letters(lemma) if x in letters] == letters
    assert set(_letters(lemma)) == set(letters)


@pytest.mark.parametrize(
    ("lemma", "letters"),
    [
        ("gel", ["gel"]),
        ("git", ["git", "gid"]),
        ("anla", ["anla", "anl"]),
        ("de", ["de", "d", "di"]),
    ],
)
def test_verb_stems(lemma, letters):
    assert _letters(lemma, "V") == letters


def test_ends_say_what_may_follow():
    assert [shape.end.last for shape in stem_shapes("kitap", "N")] == ["t", "g"]
    assert [shape.end.last for shape in stem_shapes("anla", "V")] == ["v", "y"]
    assert stem_shapes("saat", "N")[0].end.front
    assert not stem_shapes("sanat", "N")[0].end.front
    assert "hakk" in _letters("hak")
