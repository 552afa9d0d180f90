import pytest

from mmrec_jax.turkish.scores import FORMULA, TurkishScores, turkish_scores
from tests.turkish.real_text import asciified, harmony_broken, sentences, suffixes_shuffled

pytest.importorskip("sacrebleu", reason="chrF++ needs sacrebleu")
_WRONG = {"ascii": asciified, "suffixes": suffixes_shuffled, "harmony": harmony_broken}
# How much each wrong version loses in each metric, at least; 0: nothing is asked of the metric.
_MARGINS = {
    "ascii": {
        "turkish_char_accuracy": 0.9,
        "morphology_preservation": 0.2,
        "vowel_harmony_score": 0.05,
        "chrf_plus_plus": 0.2,
        "overall_turkish_score": 0.5,
    },
    "suffixes": {
        "turkish_char_accuracy": 0.15,
        "morphology_preservation": 0.3,
        "vowel_harmony_score": 0.1,
        "chrf_plus_plus": 0.2,
        "overall_turkish_score": 0.25,
    },
    "harmony": {
        "turkish_char_accuracy": 0.2,
        "morphology_preservation": 0.4,
        "vowel_harmony_score": 0.5,
        "chrf_plus_plus": 0.2,
        "overall_turkish_score": 0.4,
    },
}


@pytest.fixture(scope="module")
def real():
    texts = list(sentences())
    return turkish_scores(texts, texts).as_dict()


def test_real_text_against_itself(real):
    harmony, overall = real["vowel_harmony_score"], real["overall_turkish_score"]
    assert {value for value in real.values() if value not in (harmony, overall)} == {1.0}
    assert 0.97 < harmony < 1
    assert overall == pytest.approx(harmony**0.25)


@pytest.mark.parametrize("wrong", _WRONG)
def test_wrong_versions_of_real_text_score_lower(real, wrong):
    texts = list(sentences())
    scores = turkish_scores([_WRONG[wrong](text) for text in texts], texts).as_dict()
    lost = {name: real[name] - scores[name] for name in scores}
    assert all(lost[name] >= margin for name, margin in _MARGINS[wrong].items()), lost


def test_the_overall_score_is_the_printed_formula():
    scores = TurkishScores(0.5, 0.25, 1.0, 0.125)
    names = FORMULA.split(" = ")[1].strip().removesuffix(" ^ (1/4)").strip("()").split(" x ")
    product = 1.0
    for name in names:
        product *= getattr(scores, name)
    assert scores.overall_turkish_score == pytest.approx(product**0.25)
    assert scores.as_dict()["overall_turkish_score"] == scores.overall_turkish_score
    assert TurkishScores(0.0, 1.0, 1.0, 1.0).overall_turkish_score == 0


def test_texts_without_partners_are_refused():
    with pytest.raises(ValueError, match="nothing to score"):
        turkish_scores([], [])
    with pytest.raises(ValueError, match="longer"):
        turkish_scores(["a"], ["a", "b"])
