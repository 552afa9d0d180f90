import re

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.superwords import superword_expression, trie_regex
from tests.tokenizers.small_base import small_base


def split(expression, text):
    splitter = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
    return [part for part, _ in splitter.pre_tokenize_str(text)]


_PARTS = "İstanbul|'da Ankara|'dan göl|'dür Ali|'sini Ali|'nin they|'d|_all it|'s 's|is"


@pytest.mark.parametrize("parts", _PARTS.split())
def test_turkish_endings_are_no_english_contractions(parts):
    expected = parts.replace("_", " ").split("|")
    expression = superword_expression(BpeFile.from_content(small_base(), "t.json"))
    assert split(expression, "".join(expected)) == expected


@settings(max_examples=40)
@given(
    st.sets(st.text("ab.(|", min_size=1, max_size=6), min_size=1, max_size=12),
    st.text("ab.(|", max_size=20),
)
def test_a_trie_matches_the_longest_string_at_every_position(strings, text):
    trie = re.compile(trie_regex(dict.fromkeys(strings, "")))
    plain = re.compile("|".join(map(re.escape, sorted(strings, key=len, reverse=True))))
    for start in range(len(text)):
        found, expected = trie.match(text, start), plain.match(text, start)
        assert (found and found[0]) == (expected and expected[0])


@pytest.mark.parametrize("string", [" bir şey", "\\d+", "a.b", "[x]{2}", "^$?*", "#-&~ /"])
def test_the_library_takes_every_character_as_itself(string):
    assert split(trie_regex({string: ""}), f"xx{string}yy") == ["xx", string, "yy"]


def test_a_condition_holds_after_its_string():
    trie = re.compile(trie_regex({"ab": r"(?!\w)", "ab,": r"(?!,)", "a": ""}))
    found = {text: trie.match(text)[0] for text in ("ab", "abc", "ab,", "ab,,", "ab, c")}
    assert found == {"ab": "ab", "abc": "a", "ab,": "ab,", "ab,,": "ab", "ab, c": "ab,"}
