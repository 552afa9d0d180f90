from mmrec_jax.data.quality.document_filter import DocumentFilter


def test_without_limits_only_the_empty_are_refused():
    keep = DocumentFilter()
    assert [keep.refuse(text) for text in ("a", " \n\t", "")] == [None, "empty", "empty"]


def test_lengths_are_of_the_characters_between_the_white_space_at_the_ends():
    keep = DocumentFilter(min_chars=2, max_chars=4)
    answers = [keep.refuse(text) for text in (" a ", "şı", " a c ", "\nabcd", "abcde")]
    assert answers == ["too_short", None, None, None, "too_long"]


def test_the_language_is_asked_last():
    keep = DocumentFilter(min_chars=4, language="tr")
    texts = ("the", "the other thing", "bütün ağaçlar")
    assert [keep.refuse(text) for text in texts] == ["too_short", "language", None]
    assert DocumentFilter().refuse("the other thing") is None
