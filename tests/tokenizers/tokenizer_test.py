"""Tokenizers: what all promise, those that are trained, and those of files of other programs."""

import json
import pickle
import re
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.config import Config, TokenizerConfig
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.tokenizers import cache
from mmrec_jax.tokenizers.cache import build_tokenizer, load_tokenizer
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import train_sentencepiece
from mmrec_jax.tokenizers.tokenizer import INFO_FILE
from tests.small_data import refused
from tests.tokenizers.conftest import KINDS

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
def test_text_is_encoded_the_same_behind_another_and_decoded_to_it(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    for text in ["bir iki"] if kind == "char" else TRICKY:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == nfc(text)
        assert tokenizer.unspelled_bytes(text, ids) == 0
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, tokenizer.encode(text, continues=True))
        ids[:] = 0  # nobody else's


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_pieces(all_tokenizers, kind):
    tokenizer = all_tokenizers[kind]
    ids = tokenizer.encode("bir iki")
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == "bir iki"
    if kind not in ("byte_bpe", "json file"):  # which have only an end token
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
        for name in ("vocab_size", "bos_id", "eos_id"):
            assert getattr(copy, name) == getattr(tokenizer, name)
        np.testing.assert_array_equal(copy.encode("köprü 12"), tokenizer.encode("köprü 12"))


def test_char_ids_are_sorted_characters_after_two_special_ones(all_tokenizers, texts):
    tokenizer = all_tokenizers["char"]
    characters = sorted(set("".join(texts)))
    assert tokenizer.vocab_size == len(characters) + 2
    assert tokenizer.encode("".join(characters)).tolist() == list(range(2, len(characters) + 2))
    for text, named in (("bir q", "U+0071"), ("\U0010ffff", "U+10FFFF")):
        with refused(named, f"character {len(text) - 1}"):
            tokenizer.encode(text)


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
    for content in (json.dumps(json.loads(info.read_text()) | {"kind": "x"}), "{"):
        info.write_text(content)
        with refused(INFO_FILE):
            load_tokenizer(tmp_path)
    with refused(info / "x", "Not a directory"):
        all_tokenizers["byte"].save(info / "x")


FIELD = "config.tokenizer.vocab_size"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_is_deterministic_silent_and_exact_in_size(texts, kind, capfd):
    first, second = (train_sentencepiece(texts, kind, 320, FIELD) for _ in range(2))
    assert first.content == second.content
    assert first.vocab_size == 320
    assert (first.id_to_piece(first.bos_id), first.id_to_piece(first.eos_id)) == ("<s>", "</s>")
    assert (first.bos_id, first.eos_id) == (1, 2)
    ids = first.encode("1234\n\n").tolist()
    assert len(ids) == 6
    assert [first.id_to_piece(index) for index in ids[-2:]] == ["\n", "\n"]
    assert first.encode("IŞIK").tolist() != first.encode("ışık").tolist()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        # 4,192 bytes is the library's default limit, beyond which a line is dropped in silence.
        *(("çalışkanlar çalışkanda " * 700, *each) for each in (("unigram", 272), ("bpe", 290))),
        *((f"çalışkan {reserved} " * 200, "bpe", 285) for reserved in "\n\0\u2581\u2585"),
    ],
)
def test_long_lines_and_those_with_reserved_characters_are_learnt_from(text, kind, size):
    tokenizer = train_sentencepiece(["kısa metin", text], kind, size, FIELD)
    pieces = (tokenizer.id_to_piece(index) for index in range(tokenizer.vocab_size))
    assert any("çalışkan" in piece for piece in pieces)


@pytest.mark.parametrize(
    ("kind", "wrong", "beyond"), [("unigram", 90000, 1), ("bpe", 90000, 1), ("bpe", 100, -1)]
)
def test_a_size_that_cannot_be_names_the_nearest_that_can(texts, kind, wrong, beyond, capfd):
    with pytest.raises(UserError) as caught:
        train_sentencepiece(texts, kind, wrong, FIELD)
    assert str(caught.value).startswith(f"{FIELD} is {wrong};")
    nearest = int(re.search(r"(\d+)$", str(caught.value))[1])
    assert train_sentencepiece(texts, kind, nearest, FIELD).vocab_size == nearest
    with refused(FIELD):
        train_sentencepiece(texts, kind, nearest + beyond, FIELD)
    assert capfd.readouterr() == ("", "")


# What was trained is kept.


@pytest.fixture
def trainings(monkeypatch):
    """Counts how often a tokenizer is trained."""
    calls, train = [], cache.train_sentencepiece
    counted = lambda *args: calls.append(args) or train(*args)  # noqa: E731
    monkeypatch.setattr(cache, "train_sentencepiece", counted)
    return calls


def build(texts, folder, kind="bpe", vocab_size=None, default=310):
    config = Config(
        tokenizer=TokenizerConfig(kind=kind, vocab_size=vocab_size),
        model=MMRecConfig(vocab_size=default),
    )
    return build_tokenizer(config, iter(texts), folder)


def test_other_text_kind_or_size_trains_anew(texts, tmp_path, trainings):
    first = build(texts, tmp_path)
    build([*texts, "yeni"], tmp_path)
    build([texts[0] + texts[1], *texts[2:]], tmp_path)
    build(texts, tmp_path, kind="unigram")
    assert build(texts, tmp_path, vocab_size=311).vocab_size == 311
    assert len(trainings) == 5
    assert build(texts, tmp_path).content == first.content
    assert len(trainings) == 5


@pytest.mark.parametrize("damaged", ["sentencepiece.model", INFO_FILE])
def test_a_half_written_entry_is_made_again(texts, tmp_path, trainings, damaged):
    build(texts, tmp_path)
    (entry,) = tmp_path.iterdir()
    (entry / damaged).write_bytes((entry / damaged).read_bytes()[:100])
    again = build(texts, tmp_path)
    assert len(trainings) == 2
    assert build(texts, tmp_path).content == again.content
    assert len(trainings) == 2


def test_byte_and_char_leave_the_folder_alone(texts, tmp_path):
    assert build(texts, tmp_path / "no", kind="byte").vocab_size == 258
    assert build(texts, tmp_path / "no", kind="char").decode([2]) == "\n"
    assert not (tmp_path / "no").exists()
    for kind, nothing in (("char", ["", ""]), ("unigram", ["\n\n", "\0"]), ("bpe", [])):
        with refused("empty"):
            build(nothing, tmp_path, kind=kind)


# Files of other programs; see `foreign_test.py` too.


@pytest.mark.parametrize("names", [("<s>", "</s>"), ("[CLS]", "[SEP]"), ("<bos>", "<eos>")])
def test_start_and_end_of_a_hugging_face_file_are_found_by_name(hugging_face_json, names):
    content = hugging_face_json
    for old, new in zip(("<|endoftext|>", "<|im_end|>"), names, strict=True):
        content = content.replace(json.dumps(old).encode(), json.dumps(new).encode())
    tokenizer = HuggingFaceTokenizer(content, "t.json")
    assert tuple(map(tokenizer.id_to_piece, (tokenizer.bos_id, tokenizer.eos_id))) == names


def test_files_are_read_by_suffix(all_tokenizers, hugging_face_json, tmp_path):
    def from_file(name):
        config = Config(tokenizer=TokenizerConfig(kind="file", path=str(tmp_path / name)))
        return build_tokenizer(config, [], tmp_path)

    (tmp_path / "a.model").write_bytes(all_tokenizers["bpe"].content)
    (tmp_path / "a.json").write_bytes(hugging_face_json)
    assert from_file("a.model").fingerprint == all_tokenizers["bpe"].fingerprint
    assert from_file("a.json").fingerprint == all_tokenizers["json file"].fingerprint
    for name in ("bad.model", "bad.json"):
        (tmp_path / name).write_text("x")
    for name in ("gone.model", "bad.model", "bad.json"):
        with refused("config.tokenizer.path", name):
            from_file(name)
    with refused("config.tokenizer.end"):
        TokenizerConfig(kind="byte", end="x")
