from hypothesis import given
from hypothesis import strategies as st

from mmrec_jax.inference.generate import TextStream
from mmrec_jax.serve.told_text import TokenScore, ToldText
from mmrec_jax.tokenizers.byte import ByteTokenizer

_TOKENIZER = ByteTokenizer()


def _told(tokens, stops):
    """Parts of the text, the tokens told with each, and whether it was stopped."""
    told = ToldText(TextStream(_TOKENIZER, [256]), stops)
    parts = []
    for token in tokens:
        parts.append(told.push(token, TokenScore(token, 0.0, ())))
        if told.stopped:
            return parts, True
    return [*parts, told.finish()], told.stopped


@given(
    text=st.text("abğ☃", max_size=30),
    stops=st.lists(st.text("abğ", min_size=1, max_size=4), max_size=3),
)
def test_the_text_ends_before_the_first_stop_string(text, stops):
    tokens = list(text.encode())
    parts, stopped = _told(tokens, stops)
    # The earliest end of a stop string decides which one is met first.
    ends = [at + len(stop) for stop in stops if (at := text.find(stop)) >= 0]
    assert stopped == bool(ends)
    whole = text[: min(ends)] if ends else text
    begins = [at for stop in stops if (at := whole.find(stop)) >= 0]
    expected = whole[: min(begins)] if ends else text
    assert "".join(part for part, _ in parts) == expected
    scored = [score.token for _, scores in parts for score in scores]
    assert bytes(scored) == expected.encode()


def test_what_may_begin_a_stop_string_waits_and_is_told_if_it_does_not():
    parts, _ = _told(list(b"ab-ab--c"), ["--c!", "b--d"])
    assert [text for text, _ in parts] == ["a", "", "", "b-a", "", "", "", "b", "--c"]


def test_a_character_is_told_with_all_of_its_tokens():
    parts, _ = _told(list("aş☃".encode()), [])
    assert [(text, len(scores)) for text, scores in parts] == [
        ("a", 1),
        ("", 0),
        ("ş", 2),
        ("", 0),
        ("", 0),
        ("☃", 3),
        ("", 0),
    ]
    offsets = [score.offset for _, scores in parts for score in scores]
    assert offsets == [0, 1, 1, 2, 2, 2]
