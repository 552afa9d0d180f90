import pytest

from mmrec_jax.tokenizers.bpe_file import BpeFile, spell, unspell
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.reachability import unreachable_tokens
from tests.tokenizers.small_base import small_base


@pytest.fixture(scope="module")
def base():
    return BpeFile.from_content(small_base(), "t.json")


def with_merges(base, merges):
    """Tokenizer and the ids of what `merges` make."""
    tokens = ["".join(merge) for merge in merges]
    new = dict(enumerate(tokens, base.next_id))
    return read_library(base.extended(tokens, merges, None)), new


@pytest.mark.parametrize(
    "merge",
    [
        ("Ġ", "q"),
        (spell("ğ")[0], spell("ğ")[1]),
        ("q", spell("ğ")[0]),  # a letter and the beginning of another
        (spell("ğ")[1], "q"),
        (spell("\U0001f600")[0], spell("\U0001f600")[1]),
        (spell("\U0001f600")[1], spell("\U0001f600")[2]),  # the middle of one
        (spell("\U0001f600")[2], spell("\U0001f600")[3]),
        (spell("한")[1], spell("한")[2]),
    ],
)
def test_parts_of_characters_are_found(base, merge):
    assert not unreachable_tokens(*with_merges(base, [merge]))


def test_a_byte_is_found_though_it_is_merged_with_the_first_that_may_follow(base):
    tokenizer, _ = with_merges(base, [("é", spell("\u9000")[1])])
    assert not unreachable_tokens(tokenizer, {base.vocab["é"]: "é"})


def test_tokens_that_nothing_gives_are_named(base):
    # A digit is a pre-token of its own; a space comes before letters, not after them.
    merges = [("1", "2"), ("q", "Ġ"), ("Ġ", "q"), ("q", "q")]
    tokenizer, new = with_merges(base, merges)
    assert unreachable_tokens(tokenizer, new) == [base.next_id, base.next_id + 1]
    without_merges = read_library(base.extended([spell(" göl")], [], None))
    assert unreachable_tokens(without_merges, {base.next_id: spell(" göl")}) == [base.next_id]


def test_every_token_that_the_library_learned_is_reached(base):
    tokens = {index: token for token, index in base.vocab.items()}
    # Bytes that no UTF-8 text has: C0, C1 and F5 to FF.
    never = {bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}
    found = unreachable_tokens(read_library(small_base()), tokens)
    assert {unspell(tokens[index]) for index in found} == never
