import json
import pickle
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.tokenizer import INFO_FILE
from mmrec_jax.data.tokenizer_cache import load_tokenizer
from mmrec_jax.errors import UserError

KINDS = ["unigram", "bpe", "byte", "char", "model file", "json file"]
OPEN_KINDS = [kind for kind in KINDS if kind != "char"]  # these spell any character
TRICKY = [
    "",
    " ",
    "  a   b  ",
    "\n\n a\n",
    "\t\r\n\x0b\x0c\x00\x1b",
    "\u2581",
    " \u2581 \u2581\u2581a\u2581 ",
    "\u2585",
    "<s></s><unk><0x41><0xE2>",
    "<|endoftext|>",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "s\u0327 I\u0307 \u00e7 \u0041\u030a \uac00 \u1100\u1161",
    "\ufeff\ufffd\uffff\U0010ffff\u2028\u0085",
    "\uff21 \ufb01 \u00bd \u00a0x\u3000",
]


def nfc(text):
    return unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("kind", OPEN_KINDS)
@pytest.mark.parametrize("text", TRICKY)
def test_round_trip_of_tricky_texts(all_tokenizers, kind, text):
    tokenizer = all_tokenizers[kind]
    assert tokenizer.decode(tokenizer.encode(text)) == nfc(text)


@pytest.mark.parametrize("kind", OPEN_KINDS)
@hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=strategies.data())
def test_round_trip_of_any_text(all_tokenizers, kind, data):
    pieces = strategies.sampled_from([*TRICKY, "bir", " iki", "ağaç", "1234"])
    text = data.draw(strategies.text() | strategies.lists(pieces).map("".join))
    tokenizer = all_tokenizers[kind]
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert not np.isin(ids, [tokenizer.bos_id, tokenizer.eos_id]).any()
    assert ids.size == 0 or 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == nfc(text)


@pytest.mark.parametrize("kind", KINDS)
def test_utf8_is_encoded_as_its_text(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    for text in ["bir iki"] if kind == "char" else TRICKY:
        ids = tokenizer.encode_utf8(nfc(text).encode())
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, tokenizer.encode(text))
        ids[:] = 0  # nobody else's


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=strategies.data())
def test_round_trip_of_char_tokenizer(all_tokenizers, data):
    tokenizer = all_tokenizers["char"]
    text = data.draw(strategies.text(alphabet=strategies.sampled_from(tokenizer.characters)))
    assert tokenizer.decode(tokenizer.encode(text)) == nfc(text)


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_are_distinct_and_skipped(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    ids = tokenizer.encode("bir iki")
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == "bir iki"
    if kind != "json file":  # which has only an end token
        assert tokenizer.bos_id != tokenizer.eos_id


@pytest.mark.parametrize("kind", KINDS)
def test_ids_out_of_range_are_refused(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    for index in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match="ids must be in 0"):
            tokenizer.decode([index])


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_spell_the_text(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    pieces = [tokenizer.id_to_piece(int(index)) for index in tokenizer.encode("bir iki")]
    assert "".join(pieces).replace("\u2581", " ").replace("\u0120", " ") == "bir iki"
    assert all(tokenizer.id_to_piece(index) for index in range(tokenizer.vocab_size))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_pickled_tokenizers_are_the_same(all_tokenizers, kind, tmp_path):
    tokenizer = all_tokenizers[kind]
    tokenizer.save(tmp_path / "deep" / "folder")
    for copy in (load_tokenizer(tmp_path / "deep/folder"), pickle.loads(pickle.dumps(tokenizer))):
        assert type(copy) is type(tokenizer)
        assert copy.fingerprint == tokenizer.fingerprint
        assert (copy.vocab_size, copy.bos_id, copy.eos_id) == (
            tokenizer.vocab_size,
            tokenizer.bos_id,
            tokenizer.eos_id,
        )
        np.testing.assert_array_equal(copy.encode("köprü 12"), tokenizer.encode("köprü 12"))


def test_fingerprints_differ(all_tokenizers):
    prints = {kind: tokenizer.fingerprint for kind, tokenizer in all_tokenizers.items()}
    assert prints.pop("model file") == prints["unigram"]
    assert len(set(prints.values())) == len(prints)


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_surrogate_pair_is_refused(all_tokenizers, kind):
    with pytest.raises(UserError, match=r"half a surrogate pair, U\+D800, at character 3"):
        all_tokenizers[kind].encode("bir\ud800")


def test_unknown_character_is_named(all_tokenizers):
    with pytest.raises(UserError, match=r"character 'q' \(U\+0071\) at character 4 is not one of"):
        all_tokenizers["char"].encode("bir q")
    with pytest.raises(UserError, match=r"\(U\+10FFFF\) at character 0"):
        all_tokenizers["char"].encode("\U0010ffff")


def test_char_ids_are_sorted_characters_after_two_special_ones(all_tokenizers, texts):
    tokenizer = all_tokenizers["char"]
    characters = sorted(set("".join(texts)))
    assert tokenizer.vocab_size == len(characters) + 2
    assert tokenizer.encode("".join(characters)).tolist() == list(range(2, len(characters) + 2))


def test_byte_ids_are_the_bytes(all_tokenizers):
    tokenizer = all_tokenizers["byte"]
    assert tokenizer.encode("ş\x00").tolist() == [0xC5, 0x9F, 0]
    assert tokenizer.decode([0xC5, 97]) == "\ufffda"
    assert tokenizer.vocab_size == 258


def test_damaged_folder_is_refused(all_tokenizers, tmp_path):
    with pytest.raises(UserError, match="there is no tokenizer here"):
        load_tokenizer(tmp_path)
    tokenizer = all_tokenizers["bpe"]
    tokenizer.save(tmp_path)
    model = tmp_path / "sentencepiece.model"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"sentencepiece\.model: the tokenizer is not the one"):
        load_tokenizer(tmp_path)
    model.unlink()
    with pytest.raises(UserError, match=r"sentencepiece\.model: this file .* is missing"):
        load_tokenizer(tmp_path)
    info = json.loads((tmp_path / INFO_FILE).read_text())
    (tmp_path / INFO_FILE).write_text(json.dumps(info | {"kind": "other"}))
    with pytest.raises(UserError, match="unknown kind of tokenizer 'other'"):
        load_tokenizer(tmp_path)
    (tmp_path / INFO_FILE).write_text("{")
    with pytest.raises(UserError, match="this file is damaged"):
        load_tokenizer(tmp_path)


def test_saving_where_no_folder_can_be(all_tokenizers, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/x: cannot write the tokenizer: Not a directory"):
        all_tokenizers["byte"].save(tmp_path / "file" / "x")


def test_save_leaves_no_temporary_files(all_tokenizers, tmp_path):
    all_tokenizers["bpe"].save(tmp_path)
    all_tokenizers["unigram"].save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sentencepiece.model", INFO_FILE]
    assert load_tokenizer(tmp_path).fingerprint == all_tokenizers["unigram"].fingerprint
