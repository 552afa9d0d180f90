import pytest

from benchmarks.gold_morphology import inflected_forms, lemmas, rule_pairs
from mmrec_jax.errors import UserError


def _file(folder, name, *rows):
    path = folder / name
    path.write_text("\n".join([*("\t".join(row.split()) for row in rows), ""]), "utf-8")
    return path


def test_lemmas_are_those_of_words(tmp_path):
    rows = ("1-2 evdeydi _ _ _ _ _ _ _ _", "1 evde ev _ _ _ _ _ _ _", "2 , , _ _ _ _ _ _ _")
    assert lemmas(_file(tmp_path, "a.conllu", *rows)) == [("evde", "ev")]


def test_a_file_of_rules_is_named_after_one(tmp_path):
    path = _file(tmp_path, "phonology-consonant_drop.tsv", "X ev+SH ev+H")
    assert rule_pairs(path) == ("consonant_drop", [("ev+SH", "ev+H")])
    with pytest.raises(UserError, match=r"phonology-none\.tsv: its name"):
        rule_pairs(tmp_path / "phonology-none.tsv")


@pytest.mark.parametrize("row", ["ev EVDE N;LOC;SG", "ev N;LOC(SG) EVDE"])
def test_forms_of_both_years(tmp_path, row):
    assert inflected_forms(_file(tmp_path, "a.tsv", row, row)) == ["evde"]


def test_a_bad_file_is_named(tmp_path):
    path = _file(tmp_path, "a.tsv", "ev evde N;LOC;SG", "ev evde")
    with pytest.raises(UserError, match=r"a\.tsv:2: 2 columns instead of 3"):
        inflected_forms(path)
    with pytest.raises(UserError, match=r"b\.tsv: there are no words"):
        inflected_forms(_file(tmp_path, "b.tsv"))
    with pytest.raises(UserError, match=r"none\.tsv: cannot be read: No such file"):
        inflected_forms(tmp_path / "none.tsv")
