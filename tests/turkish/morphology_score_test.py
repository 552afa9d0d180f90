import pytest

from mmrec_jax.turkish.morphology_score import morphology_preservation, suffix_sequences


def test_sequences_of_the_worked_example():
    assert suffix_sequences("evlerde kaldı") == [("A3pl", "Loc"), ("Past",)]
    assert suffix_sequences("köylerde kaldım.") == [("A3pl", "Loc"), ("Past", "V1sg")]


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("evlerde kaldı", "köylerde kaldım", 0.5),
        ("evlerde kaldı", "evlerde kaldı", 1),
        ("kaldı evlerde", "evlerde kaldı", 0.5),  # the order counts
        ("ev", "evlerde", 0),
        ("evlerde", "evde", 0),  # the whole sequence counts, not its end
        ("", "", 1),
    ],
)
def test_by_hand(prediction, reference, expected):
    assert morphology_preservation([prediction], [reference]) == expected


def test_counts_are_summed_over_texts():
    score = morphology_preservation(["evlerde kaldı", "ev"], ["evlerde kaldı", "evde"])
    assert score == pytest.approx(2 * 2 / 5)
