import re

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from mmrec_jax.tokenizers.trie_regex import trie_regex

_TEXTS = st.text("ab.(|", min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.sets(_TEXTS, min_size=1, max_size=12), st.text("ab.(|", max_size=20))
def test_it_matches_the_longest_string_at_every_place(strings, text):
    trie = re.compile(trie_regex(dict.fromkeys(strings, "")))
    plain = re.compile("|".join(map(re.escape, sorted(strings, key=len, reverse=True))))
    for place in range(len(text)):
        found, expected = trie.match(text, place), plain.match(text, place)
        assert (found and found[0]) == (expected and expected[0])


@pytest.mark.parametrize("string", [" bir şey", "\\d+", "a.b", "[x]{2}", "^$?*", "#-&~ /"])
def test_the_library_takes_every_character_as_itself(string):
    split = pre_tokenizers.Split(tokenizers.Regex(trie_regex({string: ""})), "isolated")
    pieces = split.pre_tokenize_str(f"xx{string}yy")
    assert [piece for piece, _ in pieces] == ["xx", string, "yy"]


def test_a_condition_holds_behind_its_string():
    trie = re.compile(trie_regex({"ab": r"(?!\w)", "ab,": r"(?!,)", "a": ""}))
    found = {text: trie.match(text)[0] for text in ("ab", "abc", "ab,", "ab,,", "ab, c")}
    assert found == {"ab": "ab", "abc": "a", "ab,": "ab,", "ab,,": "ab", "ab, c": "ab,"}
