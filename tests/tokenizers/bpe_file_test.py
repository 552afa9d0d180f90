import json

import pytest
import tokenizers
from tokenizers import pre_tokenizers

from mmrec_jax.tokenizers.bpe_file import ALPHABET, BpeFile, spell, unspell
from tests.small_data import refused
from tests.tokenizers.small_base import QWEN_REGEX, SPECIAL, small_base


@pytest.fixture(scope="module")
def base():
    return BpeFile.from_content(small_base(), "t.json")


def changed(*path, value):
    """The small file with another value somewhere."""
    settings = inner = json.loads(small_base())
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(settings).encode()


def without(field):
    settings = json.loads(small_base())
    del settings[field]
    return json.dumps(settings).encode()


def test_what_it_reads(base):
    library = tokenizers.Tokenizer.from_buffer(small_base())
    assert base.vocab | base.added == library.get_vocab()
    assert (tuple(base.added), base.next_id, len(base.merges)) == (SPECIAL, 299, 40)
    assert base.split_regex == QWEN_REGEX
    old = changed("model", "merges", value=[" ".join(merge) for merge in base.merges])
    assert BpeFile.from_content(old, "old.json").merges == base.merges
    for field, next_id in (("added_tokens", 296), ("normalizer", 299)):
        assert BpeFile.from_content(without(field), "t.json").next_id == next_id


def test_without_additions_nothing_changes_but_where_special_tokens_are_listed(base):
    again = BpeFile.from_content(base.extended([], [], None), "again.json")
    assert (again.vocab, again.merges, again.added) == (base.vocab, base.merges, base.added)
    rest = [{**each.settings, "model": None} for each in (base, again)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (changed("model", "continuing_subword_prefix", value="##"), "continuing_subword_prefix"),
        (changed("model", "end_of_word_suffix", value="</w>"), "model.end_of_word_suffix is '</w>"),
        (changed("pre_tokenizer", value=None), "none"),
        (without("pre_tokenizer"), "none"),
        (changed("pre_tokenizer", value={"type": "WhitespaceSplit"}), "WhitespaceSplit"),
        (
            changed("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", value=True),
            "add_prefix_space",
        ),
        (changed("normalizer", value={"type": "NFKC"}), "NFKC"),
        (
            changed("model", value={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}),
            "WordLevel",
        ),
        (changed("model", value={"type": "BPE", "vocab": {"a": 0}, "merges": []}), "207 bytes"),
    ],
)
def test_what_cannot_be_extended_is_named_in_one_line(content, expected):
    with refused("t.json: ", expected, "byte-level BPE"):
        BpeFile.from_content(content, "t.json")


def test_what_is_no_tokenizer_is_named():
    with refused("t.json: ", "model"):
        BpeFile.from_content(b"[1]", "t.json")


def test_the_byte_alphabet_is_that_of_the_library():
    assert set(pre_tokenizers.ByteLevel.alphabet()) == ALPHABET
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(1, 0x2FF))) + "ğ→𐍈\n"
    ((spelled, _),) = splitter.pre_tokenize_str(text)
    assert spell(text) == spelled
    assert unspell(spelled) == text.encode()
    with pytest.raises(KeyError):
        unspell("a b")  # a space stands for no byte
