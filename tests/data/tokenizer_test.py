import json
import pickle
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.tokenizer import INFO_FILE
from mmrec_jax.data.tokenizer_cache import load_tokenizer
from tests.data.conftest import KINDS
from tests.small_data import refused

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
@hypothesis.settings(max_examples=60)
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
def test_utf8_is_encoded_as_its_text_and_decoded_to_it(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    for text in ["bir iki"] if kind == "char" else TRICKY:
        ids = tokenizer.encode_utf8(nfc(text).encode())
        assert tokenizer.decode(ids) == nfc(text)
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, tokenizer.encode(text))
        ids[:] = 0  # nobody else's


@hypothesis.settings(max_examples=50)
@hypothesis.given(data=strategies.data())
def test_round_trip_of_char_tokenizer(all_tokenizers, data):
    tokenizer = all_tokenizers["char"]
    text = data.draw(strategies.text(alphabet=strategies.sampled_from(tokenizer.characters)))
    assert tokenizer.decode(tokenizer.encode(text)) == nfc(text)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_pieces(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    ids = tokenizer.encode("bir iki")
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == "bir iki"
    if kind != "json file":  # which has only an end token
        assert tokenizer.bos_id != tokenizer.eos_id
    pieces = [tokenizer.id_to_piece(int(index)) for index in ids]
    assert "".join(pieces).replace("\u2581", " ").replace("\u0120", " ") == "bir iki"
    assert all(tokenizer.id_to_piece(index) for index in range(tokenizer.vocab_size))
    for index in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match="ids"):
            tokenizer.decode([index])
    with refused("U+D800", "character 3"):
        tokenizer.encode("bir\ud800")


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


def test_char_ids_are_sorted_characters_after_two_special_ones(all_tokenizers, texts):
    tokenizer = all_tokenizers["char"]
    characters = sorted(set("".join(texts)))
    assert tokenizer.vocab_size == len(characters) + 2
    assert tokenizer.encode("".join(characters)).tolist() == list(range(2, len(characters) + 2))
    for text, named in (("bir q", "U+0071"), ("\U0010ffff", "U+10FFFF")):
        with refused(named, f"character {len(text) - 1}"):
            tokenizer.encode(text)


def test_byte_ids_are_the_bytes(all_tokenizers):
    tokenizer = all_tokenizers["byte"]
    assert tokenizer.encode("ş\x00").tolist() == [0xC5, 0x9F, 0]
    assert tokenizer.decode([0xC5, 97]) == "\ufffda"
    assert tokenizer.vocab_size == 258


def test_a_damaged_folder_is_refused(all_tokenizers, tmp_path):
    with refused(tmp_path):
        load_tokenizer(tmp_path)
    all_tokenizers["bpe"].save(tmp_path)
    info, model = tmp_path / INFO_FILE, tmp_path / "sentencepiece.model"
    model.write_bytes(model.read_bytes()[:-1])
    with refused(model):
        load_tokenizer(tmp_path)
    model.unlink()
    with refused(model):
        load_tokenizer(tmp_path)
    for content, named in (
        (json.dumps(json.loads(info.read_text()) | {"kind": "x"}), "'x'"),
        ("{", ""),
    ):
        info.write_text(content)
        with refused(INFO_FILE, named):
            load_tokenizer(tmp_path)
    with refused(info / "x", "Not a directory"):
        all_tokenizers["byte"].save(info / "x")


def test_saving_replaces_and_leaves_no_temporary_files(all_tokenizers, tmp_path):
    all_tokenizers["bpe"].save(tmp_path)
    all_tokenizers["unigram"].save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sentencepiece.model", INFO_FILE]
    assert load_tokenizer(tmp_path).fingerprint == all_tokenizers["unigram"].fingerprint
