import pytest

from mmrec_jax.data.word_groups import word_groups
from mmrec_jax.errors import UserError


def row(number, form, relation="_"):
    """A row of CoNLL-U."""
    return "\t".join([number, form, *"_____", relation, "_", "_"])


def forms(*lines):
    return [[each[1] for each in groups] for groups in word_groups("\n".join(lines), "a.conllu")]


def test_rows_with_the_relation_ig_are_joined_to_the_next():
    lines = ["# text = Evdekiler var.", row("1", "Evde", "ig"), row("2", "ki", "ig")]
    lines += [row("3", "ler", "nsubj"), row("4", "var", "root"), ""]
    assert forms(*lines) == [["Evde", "ki", "ler"], ["var"]]


def test_ranges_and_empty_nodes_are_no_words():
    lines = [row("1-2", "evdeki"), row("1", "evde", "ig"), row("1.1", "boş"), row("2", "ki")]
    assert forms(*lines) == [["evde", "ki"]]


@pytest.mark.parametrize("end", ["", "# text = Yok."])
def test_no_word_reaches_over_the_end_of_a_sentence(end):
    assert forms(row("1", "ev", "ig"), end, row("1", "yok")) == [["yok"]]


def test_a_row_without_ten_columns_is_named():
    with pytest.raises(UserError, match=r"^a\.conllu:3: 2 columns; CoNLL-U has 10$"):
        forms("# text = Ev.", row("1", "ev"), "2\tvar")
