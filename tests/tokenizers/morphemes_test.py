"""Gold boundaries of treebanks made up for it."""

import pytest

from mmrec_jax.tokenizers.morphemes import read_gold_boundaries
from tests.small_data import refused


def row(number, form, relation="_"):
    """A row of CoNLL-U."""
    return "\t".join([number, form, *"_____", relation, "_", "_"])


@pytest.fixture
def gold(tmp_path):
    """Writes a treebank and reads it."""
    path = tmp_path / "gold.conllu"

    def read(*lines):
        path.write_text("\n".join(lines), "utf-8")
        return read_gold_boundaries(path)

    return read


def test_the_commonest_analysis_counts(gold):
    split = [row("1", "göl", "ig"), row("2", "de", "root"), ""]
    whole = [row("1", "gölde", "root"), ""]
    assert gold(*split, *whole, *split) == {"gölde": frozenset([3])}
    assert gold(*split, *whole, *whole, *split, *whole) == {"gölde": frozenset()}


def test_a_treebank_without_groups_is_refused(gold):
    for lines in ([row("1", "göl"), row("2", "var")], ["# text = göl"], [""]):
        with refused("gold.conllu: "):
            gold(*lines)
