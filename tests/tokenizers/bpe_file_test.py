import copy
import json

import pytest
import tokenizers

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import BpeFile
from tests.tokenizers.small_base import QWEN_REGEX, SPECIAL, small_base


@pytest.fixture(scope="module")
def base():
    return BpeFile.from_content(small_base(), "t.json")


def changed(*path, value):
    """The small file with another value somewhere."""
    settings = json.loads(small_base())
    place = settings
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(settings).encode()


def test_what_it_reads(base):
    library = tokenizers.Tokenizer.from_buffer(small_base())
    assert base.vocab | base.added == library.get_vocab()
    assert tuple(base.added) == SPECIAL
    assert base.next_id == 299
    assert base.split_regex == QWEN_REGEX
    assert len(base.merges) == 40


def test_merges_of_either_spelling_are_read(base):
    old = changed("model", "merges", value=[" ".join(merge) for merge in base.merges])
    assert BpeFile.from_content(old, "old.json").merges == base.merges


def test_without_additions_nothing_changes_but_where_special_tokens_are_listed(base):
    again = BpeFile.from_content(base.extended([], [], None), "again.json")
    assert (again.vocab, again.merges, again.added) == (base.vocab, base.merges, base.added)
    rest = [copy.deepcopy(each.settings) for each in (base, again)]
    for settings in rest:
        del settings["model"]
    assert rest[0] == rest[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not a Hugging Face tokenizer.json"),
        (small_base()[:-9], "is not a Hugging Face tokenizer.json"),
        (b'{"model": 3}', "is not a Hugging Face tokenizer.json"),
        (b"[1]", "is not a Hugging Face tokenizer.json"),
        (changed("model", "continuing_subword_prefix", value="##"), "model.continuing_subword_p"),
        (changed("model", "end_of_word_suffix", value="</w>"), "model.end_of_word_suffix is '</w>"),
        (changed("pre_tokenizer", value=None), "the pre-tokeniser is none; only ByteLevel"),
        (
            changed("pre_tokenizer", value={"type": "WhitespaceSplit"}),
            "the pre-tokeniser is WhitespaceSplit; only ByteLevel, alone or after Split",
        ),
        (
            changed("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", value=True),
            "the pre-tokeniser adds a space before the text",
        ),
        (changed("normalizer", value={"type": "NFKC"}), "the normalizer is NFKC; only NFC"),
        (
            changed("model", value={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}),
            "the model is WordLevel; only byte-level BPE",
        ),
        (
            changed("model", value={"type": "BPE", "vocab": {"a": 0}, "merges": []}),
            "255 of the 256 bytes have no token",
        ),
    ],
)
def test_what_cannot_be_extended_is_said_in_one_line(content, expected):
    with pytest.raises(UserError) as error:
        BpeFile.from_content(content, "t.json")
    assert str(error.value).startswith("t.json: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"no\.json: cannot be read: No such file"):
        BpeFile.read(tmp_path / "no.json")
