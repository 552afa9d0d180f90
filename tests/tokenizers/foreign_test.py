"""Tokenizers of other programs: what may be wrong with their files, and what they do to texts."""

import contextlib
import functools
import json
import os
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_jax.data.document import Document
from mmrec_jax.data.token_store import TokenStore, encode_long
from mmrec_jax.errors import UserError
from mmrec_jax.inference.generate import TextStream
from mmrec_jax.tokenizers import library
from mmrec_jax.tokenizers.bpe_file import ALPHABET
from mmrec_jax.tokenizers.cache import load_tokenizer, read_tokenizer_file
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import SentencePieceTokenizer
from tests.small_data import refused
from tests.tokenizers.conftest import model_file

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BYTE_LEVEL["trim_offsets"] = True
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
LLAMA = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}}]
LLAMA[1]["content"] = "▁"
LLAMA_DECODER = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    *({"type": "ByteFallback"}, {"type": "Fuse"}),
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
]


def written(model, names=("<|endoftext|>",), special=True, **settings):
    """A tokenizer.json with some added tokens after its vocabulary."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    plain["special"] = special
    numbered = enumerate(names, len(model["vocab"]))
    entries = [plain | {"id": index, "content": name} for index, name in numbered]
    return json.dumps({"version": "1.0", "added_tokens": entries, "model": model} | settings)


def byte_level(names=("<|endoftext|>",), special=True, model=(), **settings):
    """Byte-level BPE with a few merges."""
    merges = [["t", "h"], ["th", "e"], ["Ġ", "the"], ["Ġ", "b"], ["i", "r"], ["Ġb", "ir"]]
    vocab = [*sorted(ALPHABET), *map("".join, merges)]
    plain = {"type": "BPE", "vocab": {x: i for i, x in enumerate(vocab)}, "merges": merges}
    steps = {"pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL} | settings
    return written(plain | dict(model), names, special, **steps)


def byte_fallback():
    """BPE as of Llama 2: a space before each text, bytes for what it lacks."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b"]
    model = {"type": "BPE", "vocab": {x: i for i, x in enumerate(pieces)}, "merges": []}
    model |= {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True}
    steps = {"normalizer": LLAMA, "decoder": LLAMA_DECODER}
    keys = {"normalizer": "normalizers", "decoder": "decoders"}
    steps = {name: {"type": "Sequence", keys[name]: each} for name, each in steps.items()}
    return written(model, (), **steps)


def unigram(unknown=True, extra=()):
    """Unigram over single letters; the end token is in its vocabulary alone."""
    letters = [["▁", -2.0], *([each, -3.0] for each in "abdehiklmnrt"), *extra]
    vocab = [["</s>", 0.0], *([["<unk>", 0.0]] if unknown else []), *letters]
    model = {"type": "Unigram", "vocab": vocab, "unk_id": 1 if unknown else None}
    return written(model, (), pre_tokenizer=METASPACE, decoder=METASPACE)


def word_level():
    """Words between spaces."""
    names = ["[UNK]", "[SEP]", "the", "bir", "<think>"]
    model = {"type": "WordLevel", "vocab": {x: i for i, x in enumerate(names)}}
    model["unk_token"] = "[UNK]"
    return written(model, ("<think>",), False, pre_tokenizer={"type": "WhitespaceSplit"})


@functools.cache
def opened(content, begin="", end=""):
    kind = HuggingFaceTokenizer if isinstance(content, str) else SentencePieceTokenizer
    content = content.encode() if isinstance(content, str) else content
    return kind(content, "FILE", begin, end)


def pieces(tokenizer, text):
    return [tokenizer.id_to_piece(int(index)) for index in tokenizer.encode(text)]


def test_equal_texts_have_equal_ids():
    plain, text = opened(byte_level()), "the bir the bir"
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    tokenizer = opened(byte_level(model={"dropout": 0.5}, truncation=cut))
    for each in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        for _ in range(20):
            assert each.encode(text).tolist() == plain.encode(text).tolist()


CONTROL = ("<|im_end|>", "<think>", "[INST]", "</s>")


@pytest.mark.parametrize(
    "content",
    [
        byte_level(("<|endoftext|>", *CONTROL)),
        byte_level(("<|endoftext|>", *CONTROL), special=False),
        byte_level(("<|endoftext|>", "<think>"), special=False, model={"ignore_merges": True}),
        byte_fallback(),
        unigram(extra=[[x, -3.0] for x in "</s>"]),
        word_level(),
        model_file(user_defined_symbols=["<|im_end|>", "<think>"]),
        model_file(eos_id=-1, bos_id=-1, user_defined_symbols=["</s>"]),
    ],
)
def test_no_text_spells_a_control_token(content):
    tokenizer = opened(content)
    names = {i: tokenizer.id_to_piece(i) for i in tokenizer.control_ids}
    assert tokenizer.eos_id in names
    assert {x for x in CONTROL if tokenizer.piece_to_id(x) is not None} <= set(names.values())
    for each in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        for text in (*names.values(), "the".join(names.values()), *(f"bir {x} b" for x in CONTROL)):
            ids = each.encode(text)
            known = ids[ids != tokenizer.unknown_id].tolist()
            assert not tokenizer.control_ids & set(known)
            assert not tokenizer.lossless or tokenizer.decode(ids) == text
    thinking = tokenizer.piece_to_id("<think>")
    assert thinking is None or tokenizer.decode([thinking]) in ("<think>", "")


def test_added_words_are_words():
    tokenizer = opened(byte_level(("<|endoftext|>", "ö", "şehir", "<think>"), special=False))
    found = pieces(tokenizer, "öl <think>şehir")
    assert (found[0], found[-1]) == ("ö", "şehir")
    assert tokenizer.lossless
    assert tokenizer.decode(tokenizer.encode("öl <think>şehir")) == "öl <think>şehir"
    assert tokenizer.decode([tokenizer.piece_to_id("<think>")]) == "<think>"


@pytest.mark.parametrize(
    ("content", "lost"),
    [
        (byte_level(), ""),
        (model_file(normalization_rule_name="identity"), "  "),
        (byte_fallback(), ""),
        (byte_level(normalizer={"type": "Lowercase"}), "BIR"),
        (
            byte_level(("<|endoftext|>", "ir"), False).replace('"lstrip": false', '"lstrip": true'),
            " " * 3,
        ),
        (byte_level(pre_tokenizer=None), None),
        (unigram(), "ğBIR漢\n"),
        (model_file(byte_fallback=False), "漢\n  BR"),
        (word_level(), None),
    ],
)
def test_the_bytes_that_tokens_do_not_spell_are_counted(content, lost):
    tokenizer, text = opened(content), "the BIR   ir ağa\n漢"
    ids = tokenizer.encode(text)
    found = tokenizer.unspelled_bytes(text, ids)
    if lost is not None:
        assert found == len(lost.encode())
    assert (tokenizer.decode(ids) == text) <= (found == 0)
    documents = [Document("a", text), Document("b", "the")]
    store = TokenStore.from_documents(documents, tokenizer)
    assert store.unspelled_bytes == found + tokenizer.unspelled_bytes(
        "the", tokenizer.encode("the")
    )


def test_a_character_without_a_token_is_named_with_its_document():
    tokenizer = opened(unigram(unknown=False))
    documents = [Document("bir.txt:1", "the bahar"), Document("iki.txt:7", "bir ğ")]
    with refused("iki.txt:7", "'ğ'", "U+011F", "character 4"):
        TokenStore.from_documents(documents, tokenizer)


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        (None, {}, ("<|endoftext|>", "<|endoftext|>")),
        ({"eos_token": "<c>", "bos_token": "<b>"}, {}, ("<b>", "<c>")),
        ({"eos_token": {"content": "<c>"}, "bos_token": None}, {}, ("<c>", "<c>")),
        ({"eos_token": "<c>"}, {"begin": "<b>"}, ("<b>", "<c>")),
        ({"eos_token": "<c>"}, {"end": "<|endoftext|>"}, ("<|endoftext|>", "<|endoftext|>")),
        ({"eos_token": "<x>"}, {}, "'<x>'"),
        ({}, {"begin": "<y>"}, "'<y>'"),
    ],
)
def test_begin_and_end_are_those_of_the_options_or_of_the_file_beside(
    tmp_path, settings, options, expected
):
    path, plain = tmp_path / "tokenizer.json", byte_level(("<b>", "<c>", "<|endoftext|>"))
    path.write_text(plain, "utf-8")
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    if isinstance(expected, str):
        with refused("--tokenizer", path, expected):
            read_tokenizer_file(path, "--tokenizer", **options)
        return
    tokenizer = read_tokenizer_file(path, "--tokenizer", **options)
    tokenizer.save(tmp_path / "kept")
    copies = load_tokenizer(tmp_path / "kept"), pickle.loads(pickle.dumps(tokenizer))
    for each in (tokenizer, *copies):
        assert (each.id_to_piece(each.bos_id), each.id_to_piece(each.eos_id)) == expected
        assert each.fingerprint == tokenizer.fingerprint
    usual = expected == ("<|endoftext|>",) * 2
    assert (tokenizer.fingerprint == opened(plain).fingerprint) == usual


def test_without_an_end_the_line_proposes_one(tmp_path):
    with refused("tokenizer_config.json", "config.tokenizer.end", "<stop>"):
        opened(byte_level(("<stop>",)))
    with refused("config.tokenizer.end"):
        opened(model_file(bos_id=-1, eos_id=-1))
    assert opened(byte_level(("<stop>",)), end="<stop>").eos_id == 262


PREFIXED = {
    "byte fallback": byte_fallback(),
    "metaspace": unigram(),
    "byte level": byte_level(pre_tokenizer=BYTE_LEVEL | {"add_prefix_space": True}),
    "model": model_file(),
    "model that keeps spaces": model_file(remove_extra_whitespaces=False),
    "lossy model": model_file(byte_fallback=False),
}


@pytest.mark.parametrize("name", PREFIXED)
def test_a_continuation_adds_no_space(name):
    tokenizer = opened(PREFIXED[name])
    for first, second in (("bir", "den"), ("bir", " bir"), ("bir b", "ir"), ("bir", "")):
        ids = [*tokenizer.encode(first), *tokenizer.encode(second, continues=True)]
        assert tokenizer.decode(ids).strip() == first + second


def test_a_long_text_is_encoded_in_parts_that_continue_each_other(monkeypatch):
    monkeypatch.setattr("mmrec_jax.data.token_store._PART", 20)
    tokenizer, text = opened(byte_fallback()), "bir uzun metin\niki satır ve " * 9 + "uzun" * 30
    assert tokenizer.decode(encode_long(tokenizer, text)) == text


def assert_streamed(tokenizer, tokens):
    """What is told of tokens, one after another, is their text."""
    prompt = [tokenizer.bos_id, *tokenizer.encode("the bir").tolist()]
    stream = TextStream(tokenizer, prompt)
    told = "".join([*map(stream.push, tokens), stream.finish()])
    assert told == tokenizer.decode([*prompt, *tokens])[len(tokenizer.decode(prompt)) :]


@pytest.mark.parametrize("name", PREFIXED)
def test_white_space_in_a_row_is_streamed(name):
    """Of a text that begins with it, as the end of one that a stream holds may, some is dropped."""
    tokenizer = opened(PREFIXED[name])
    word = tokenizer.encode("bir").tolist()
    blank = [i for i in range(tokenizer.vocab_size) if not tokenizer.id_to_piece(i).strip("▁Ġ ")]
    for index in blank:
        for count in (1, 2, 3):
            assert_streamed(tokenizer, [*[index] * count, *word])


@pytest.mark.parametrize("name", PREFIXED)
@given(data=st.data())
def test_streamed_text_is_the_returned_text(name, data):
    tokenizer = opened(PREFIXED[name])
    ordinary = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.control_ids]
    letters = st.text("ğş漢 a", max_size=4).map(
        lambda x: tokenizer.encode(x, continues=True).tolist()
    )
    some = st.lists(st.sampled_from(ordinary), max_size=3)
    tokens = [i for part in data.draw(st.lists(letters | some, max_size=6)) for i in part]
    assert_streamed(tokenizer, tokens)


def test_a_byte_out_of_place_costs_no_letter_around_it():
    tokenizer = opened(byte_fallback())
    first, last = (tokenizer.piece_to_id(f"<0x{byte:02X}>") for byte in (0xC5, 0x9F))
    assert tokenizer.decode([first, last, first, first, last, last]) == "ş\ufffdş\ufffd"


def bad_utf8():
    bad = model_file().replace("▁bir".encode(), b"\xff\xfe\xffbir")
    assert b"\xff\xfe" in bad
    return bad


def split(regex):
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    steps = [step, BYTE_LEVEL | {"use_regex": False}]
    return byte_level(pre_tokenizer={"type": "Sequence", "pretokenizers": steps})


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "{}", "[1]", "[" * 200_000, byte_level()[:-5], '{"model": 3}'),
        *(split("(a+)+$"), split("(a|aa|a )+$"), split("(")),
        byte_level().replace('"content"', '"contents"'),
        byte_level(added_tokens=[3]),
        byte_level(added_tokens={"a": 1}),
        byte_level(model={"vocab": ["a", "b"]}),
        byte_level(model={"vocab": {"a": "b", "</s>": 1}}),
        byte_level(pre_tokenizer={"type": "Nonsense"}),
        *(b"", b"not a model", bad_utf8(), model_file()[:-2000]),
    ],
)
def test_a_damaged_file_is_one_line(content, capfd):
    with refused("FILE"):
        opened(content)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("part", ["added_tokens", "pre_tokenizer", "normalizer", "decoder"])
def test_a_part_may_be_missing(part):
    vocab = {letter: index for index, letter in enumerate([*ALPHABET, "</s>"])}
    settings = json.loads(byte_level(model={"vocab": vocab, "merges": []}))
    settings.pop(part, None)
    assert len(opened(json.dumps(settings)).encode("abc")) == 3


def test_threads_that_load_at_once_leave_standard_error_where_it_was(monkeypatch):
    """As those that read mapped text do."""
    barrier = threading.Barrier(2)

    def load(content):
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(0.2)  # both are silent now, if they may be
        if threading.current_thread() is first:
            second.join(0.2)  # which began later
        raise ValueError

    def read():
        with contextlib.suppress(UserError):
            library.load_library({"model": {}}, "a")

    monkeypatch.setattr(library.tokenizers.Tokenizer, "from_buffer", load)
    first, second = (threading.Thread(target=read) for _ in range(2))
    before = os.stat(2)
    for thread in (first, second):
        thread.start()
    for thread in (first, second):
        thread.join()
    assert os.path.samestat(os.stat(2), before)
