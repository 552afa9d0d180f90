import functools
import itertools
import random
import unicodedata

import pytest

from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.errors import UserError
from mmrec_jax.turkish.letters import WORD
from mmrec_jax.turkish.scores import (
    FORMULA,
    common_subsequence,
    morphology_preservation,
    suffix_sequences,
    turkish_char_accuracy,
    turkish_scores,
)
from mmrec_jax.turkish.segmenter import segment

_ASCII = str.maketrans("çğıİöşüÇĞÖŞÜâîû", "cgiIosuCGOSUaiu")
# Each vowel to the one of the other backness.
_BROKEN = str.maketrans("aeıiuüAEIİUÜ", "eaiıüuEAİIÜU")


@functools.cache
def sentences():
    """Sentences of web pages, of at least 6 words; always the same ones."""
    texts = [d.text.split("\n")[0] for d in treebank_documents() if d.name.startswith("tr-")]
    return [text for text in texts if len(text.split()) >= 6][:120]


def suffixes_shuffled(text):
    """Every word with suffixes gets those of another word of the text."""
    found = [segment(match[0]) for match in WORD.finditer(text)]
    endings = [x.word[x.end :] for x in found if x.suffixes]
    random.Random(0).shuffle(endings)
    waiting = iter(endings)
    shuffled = iter(x.root + next(waiting) if x.suffixes else x.word for x in found)
    return WORD.sub(lambda match: next(shuffled), text)


def harmony_broken(text):
    """The vowels of every suffix on the other side of front and back."""

    def broken(match):
        end = segment(match[0]).end
        return match[0][:end] + match[0][end:].translate(_BROKEN)

    return WORD.sub(broken, text)


# What each wrong version of real text loses, at least: characters, morphology, harmony, chrF++ and
# the overall score.
_WRONG = {
    "ascii": (lambda text: text.translate(_ASCII), (0.9, 0.2, 0.05, 0.2, 0.5)),
    "suffixes": (suffixes_shuffled, (0.15, 0.3, 0.1, 0.2, 0.25)),
    "harmony": (harmony_broken, (0.2, 0.4, 0.5, 0.2, 0.4)),
}


@pytest.fixture(scope="module")
def real():
    return turkish_scores(sentences(), sentences())


def test_real_text_against_itself(real):
    harmony, overall = real["vowel_harmony_score"], real["overall_turkish_score"]
    assert {value for value in real.values() if value not in (harmony, overall)} == {1.0}
    assert 0.97 < harmony < 1
    assert overall == pytest.approx(harmony**0.25)


@pytest.mark.parametrize("wrong", _WRONG)
def test_wrong_versions_of_real_text_score_lower(real, wrong):
    change, margins = _WRONG[wrong]
    scores = turkish_scores([change(text) for text in sentences()], sentences())
    lost = [real[name] - scores[name] for name in real]
    assert all(x >= margin for x, margin in zip(lost, margins, strict=True)), lost


def test_the_overall_score_is_the_printed_formula():
    scores = turkish_scores(["çay evlerde kaldım evlar"], ["çay evlerde kaldım dün"])
    overall, formula = FORMULA.replace(" x ", " * ").replace("^", "**").split(" = ")
    assert 0 < scores[overall] < 1
    assert scores[overall] == pytest.approx(eval(formula, None, scores))
    assert turkish_scores(["isik"], ["ışık"])[overall] == 0


def test_a_model_that_writes_nothing_scores_nothing():
    for nothing in ("", " \n", "3 ?"):
        scores = turkish_scores([nothing, ""], ["evlerde kaldık", "ev"])
        assert not any(scores[name] for name in ("vowel_harmony_score", "overall_turkish_score"))


def test_normal_forms_and_second_dots_score_alike():
    right = "İzmir'de iyi göller gördük"
    for text in (unicodedata.normalize("NFD", right), right.replace("i", "i\u0307")):
        assert turkish_scores([text], [right]) == turkish_scores([right], [right])


def test_long_texts_are_compared_or_refused():
    long = "evlerde abcdefgh " * 1800  # 30,600 characters
    assert turkish_char_accuracy([long], [long[::-1]]) == 1
    assert morphology_preservation([long], ["evde " * 6000]) == 0
    with pytest.raises(UserError, match="text 2 has 40,000 characters"):
        turkish_char_accuracy(["a", "a" * 40_000], ["a", "a"])


def test_the_common_subsequence_is_a_longest_one():
    def length(a, b):
        if not a or not b:
            return 0
        return max(length(a[1:], b), length(a, b[1:]), (a[0] == b[0]) + length(a[1:], b[1:]))

    rng = random.Random(0)
    for _ in range(60):
        a, b = ("".join(rng.choices("abc", k=rng.randrange(7))) for _ in range(2))
        pairs = common_subsequence(a, b)
        assert len(pairs) == length(a, b)
        assert all(a[i] == b[j] for i, j in pairs)
        assert all(i < k and j < m for (i, j), (k, m) in itertools.pairwise(pairs))


def test_texts_without_partners_are_refused():
    for predictions, references in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match=r"nothing|longer"):
            turkish_scores(predictions, references)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("cay içtiğim", "çay içtiğim", 2 / 3),
        ("isik", "ışık", 0),
        ("ışık", "isik", 0),
        ("IŞIK İŞ", "IŞIK İŞ", 1),
        ("ISIK IS", "IŞIK İŞ", 0),  # Ş, İ and Ş lost
        ("kapi", "kapı", 0),
        ("", "çok", 0),
        ("çok", "", 0),
        ("bu ev", "bu ev", 1),
        ("o gün çok güzel", "çok güzel", 2 / 3),  # ç and ü kept, one ü invented
        ("go\u0308l", "göl", 1),
    ],
)
def test_characters_by_hand(prediction, reference, expected):
    assert turkish_char_accuracy([prediction], [reference]) == pytest.approx(expected)


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
def test_morphology_by_hand(prediction, reference, expected):
    assert morphology_preservation([prediction], [reference]) == expected


def test_suffix_sequences_of_the_worked_example():
    assert suffix_sequences("evlerde kaldı") == [("A3pl", "Loc"), ("Past",)]
    assert suffix_sequences("köylerde kaldım.") == [("A3pl", "Loc"), ("Past", "V1sg")]


def test_counts_are_summed_over_texts():
    assert turkish_char_accuracy(["çok", "sis"], ["çok", "şiş"]) == pytest.approx(1 / 3)
    score = morphology_preservation(["evlerde kaldı", "ev"], ["evlerde kaldı", "evde"])
    assert score == pytest.approx(2 * 2 / 5)
