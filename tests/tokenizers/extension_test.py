"""Learning on a small text: what the library makes of the files."""

import importlib.metadata
import json
import re
import unicodedata

import numpy as np
import pytest
import tokenizers

from mmrec_jax.cli import main
from mmrec_jax.data.huggingface_tokenizer import HuggingFaceTokenizer
from mmrec_jax.tokenizers import extension
from mmrec_jax.tokenizers.boundary_score import score_boundaries
from mmrec_jax.tokenizers.bpe_file import BpeFile, load_tokenizer
from mmrec_jax.tokenizers.byte_alphabet import unspell
from mmrec_jax.tokenizers.encoder import Encoder
from mmrec_jax.tokenizers.extension_files import (
    CONFIG_FILE,
    MERGES_FILE,
    RECORD_FILE,
    TOKENIZER_FILE,
)
from mmrec_jax.tokenizers.morphemes import read_gold_boundaries
from mmrec_jax.tokenizers.reachability import unreachable_tokens
from mmrec_jax.tokenizers.superwords import superword_expression
from tests.tokenizers.small_base import (
    ENGLISH,
    SPECIAL,
    small_base,
    turkish,
    write_base,
)

_NEW, _SUPERWORDS = 160, 40
_PROTECTED = "A hole in it. Bird's set: 'do'! {x: 1}\n"


def extend(folder, *arguments, text=None, out="out"):
    """Runs the command; returns the folder that it wrote."""
    base = write_base(folder)
    path = folder / "text.txt"
    path.write_text(text or turkish(), "utf-8")
    protected = folder / "protected.txt"
    protected.write_text(ENGLISH + _PROTECTED, "utf-8")
    options = [f"--base={base}", f"--text={path}", f"--protect={protected}"]
    sizes = [f"--vocab-size={_NEW}", f"--superwords={_SUPERWORDS}"]
    main(["tokenizer", "extend", *options, *sizes, f"--out={folder / out}", *arguments])
    return folder / out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("extension")


@pytest.fixture(scope="module")
def out(folder):
    return extend(folder)


@pytest.fixture(scope="module")
def extended(out):
    return load_tokenizer((out / TOKENIZER_FILE).read_bytes())


@pytest.fixture(scope="module")
def base():
    return load_tokenizer(small_base())


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_old_tokens_and_special_ones_keep_their_ids(extended, base):
    old, new = base.get_vocab(), extended.get_vocab()
    assert old.items() <= new.items()
    assert sorted(new.values()) == list(range(len(old) + _NEW))
    plain = tokenizers.Tokenizer.from_str(extended.to_str())
    for place, token in enumerate(SPECIAL):
        index = len(old) - len(SPECIAL) + place
        assert ids(plain, f"a{token}b")[1] == index
        assert index not in ids(extended, f"a{token}b")  # a text that looks like it


def test_every_new_token_is_the_encoding_of_its_own_text(extended, base):
    vocab = extended.get_vocab()
    new = {vocab[token]: unspell(token) for token in vocab.keys() - base.get_vocab().keys()}
    texts = {index: data.decode("utf-8", "ignore") for index, data in new.items()}
    whole = [index for index in new if texts[index].encode() == new[index]]
    assert len(whole) > 0.9 * _NEW
    assert all(ids(extended, texts[index]) == [index] for index in whole)
    assert not unreachable_tokens(extended, {index: extended.id_to_token(index) for index in new})


def test_text_of_another_language_keeps_its_ids(extended, base):
    assert ids(extended, ENGLISH) == ids(base, ENGLISH)
    assert ids(extended, _PROTECTED) == ids(base, _PROTECTED)
    assert len(ids(extended, turkish())) < 0.5 * len(ids(base, turkish()))


def test_any_nfc_text_comes_back(extended, rng):
    alphabet = [chr(code) for code in range(1, 0x250)] + list("\u0307\u0301ﬁ→한\U0001f600\u200d")
    alphabet += [" ", "\n", "'"] * 40 + turkish(20).split(" ")
    picked = rng.integers(0, len(alphabet), (10_000, 12))
    lengths = rng.integers(0, 13, len(picked))
    texts = [
        unicodedata.normalize("NFC", "".join(alphabet[i] for i in row[:length]))
        for row, length in zip(picked, lengths, strict=True)
    ]
    encodings = extended.encode_batch_fast(texts, add_special_tokens=False)
    assert extended.decode_batch([each.ids for each in encodings]) == texts


def test_text_is_cut_at_fewer_places_and_only_before_followers(extended, base, rng):
    words = [*turkish(40).replace("\n", " \n").split(" "), "cat", "didn't", "they'd", "..", "(x)"]
    joints = np.array([" ", " ", " ", "", ", ", "'", "\n", "  ", "5", ".", "x"])
    joined = 0
    for _ in range(600):
        some, glue = rng.integers(0, len(words), 6), rng.choice(joints, 6)
        text = "".join(words[i] + joint for i, joint in zip(some, glue, strict=True))
        old = {cut[0] for _, cut in base.pre_tokenizer.pre_tokenize_str(text)}
        new = {cut[0] for _, cut in extended.pre_tokenizer.pre_tokenize_str(text)}
        assert new <= old
        joined += new != old
    assert joined > 100
    for text in ("It's a cat. (The dog) won't, they'd say: 'no!'", "def f(x): return x[1:], 'do'"):
        cuts = [each.pre_tokenizer.pre_tokenize_str(text) for each in (base, extended)]
        assert cuts[0] == cuts[1]


def test_superwords_save_what_the_learning_counted(folder, out, extended, monkeypatch):
    """Tokens of the text with the merges of both stages, and with the first stage's alone."""
    saved = []
    learn = extension.learn_stage

    def count(stage, vocabulary, text, *rest):
        left = learn(stage, vocabulary, text, *rest)
        if stage == "superword":
            saved.append(int((text.symbols >= 0).sum() - (left.symbols >= 0).sum()))
        return left

    monkeypatch.setattr(extension, "learn_stage", count)
    extend(folder, out="counted")
    rows = (line.split("\t") for line in (out / MERGES_FILE).read_text("utf-8").splitlines()[1:])
    stages = [row[1] for row in rows]
    assert stages.count("superword") >= _SUPERWORDS
    settings = json.loads((out / TOKENIZER_FILE).read_bytes())
    merges = settings["model"]["merges"]
    del merges[len(merges) - stages.count("superword") :]
    first = load_tokenizer(json.dumps(settings).encode())
    assert saved == [len(ids(first, turkish())) - len(ids(extended, turkish()))]
    assert saved[0] > 500


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("İstanbul'da", ["İstanbul", "'da"]),
        ("Ankara'dan", ["Ankara", "'dan"]),
        ("göl'dür", ["göl", "'dür"]),
        ("Ali'sini", ["Ali", "'sini"]),
        ("Ali'nin", ["Ali", "'nin"]),
        ("they'd all", ["they", "'d", " all"]),
        ("it's", ["it", "'s"]),
        ("'sis", ["'s", "is"]),
    ],
)
def test_turkish_endings_are_no_english_contractions(base, text, pieces):
    expression = superword_expression(BpeFile.from_content(small_base(), "t.json"))
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
    assert [piece for piece, _ in split.pre_tokenize_str(text)] == pieces


def test_what_was_learned_is_what_the_library_encodes(folder, monkeypatch):
    """The words as the learning left them, against the library with the merges written."""
    kept = {}
    learn = extension.learn_stage

    def remember(stage, vocabulary, words, *rest):
        kept["words"] = learn(stage, vocabulary, words, *rest)
        kept["vocabulary"] = vocabulary
        return kept["words"]

    monkeypatch.setattr(extension, "learn_stage", remember)
    out = extend(folder, "--vocab-size=100", "--superwords=0", out="subwords")
    tokenizer = load_tokenizer((out / TOKENIZER_FILE).read_bytes())
    symbols = kept["words"].symbols
    words = np.split(symbols, np.flatnonzero(symbols == -1) + 1)[:-1]
    tokens = kept["vocabulary"].tokens
    assert len(words) > 90
    for word in words:
        pieces = [tokens[index] for index in word[:-1].tolist()]
        assert tokenizer.encode(unspell("".join(pieces)).decode()).tokens == pieces


def test_the_same_files_whatever_was_in_between(folder, out, monkeypatch):
    """Stopped at many places, and each time begun again."""
    monkeypatch.setattr("mmrec_jax.tokenizers.merge_learning._BETWEEN_SAVES", 20)
    whole = extend(folder, out="whole")
    monkeypatch.setattr("mmrec_jax.tokenizers.word_counting._BATCH", 1_000)
    monkeypatch.setattr("mmrec_jax.tokenizers.word_counting._BETWEEN_SAVES", 0.0)
    monkeypatch.setattr("mmrec_jax.data.formats.byte_window._READ", 900)
    learn = extension.learn_extension
    allowed = 1

    class Killed(BaseException):
        pass

    def interrupted(plan, state, report):
        reports = 0

        def count(*progress):
            nonlocal reports
            reports += 1
            if reports > allowed:
                raise Killed
            report(*progress)

        return learn(plan, state, count)

    monkeypatch.setattr(extension, "learn_extension", interrupted)
    kills = 0
    while True:
        try:
            again = extend(folder, out="again")
            break
        except Killed:
            kills += 1
            allowed += 1
    assert kills > 4
    for name in (TOKENIZER_FILE, CONFIG_FILE, MERGES_FILE):
        assert (again / name).read_bytes() == (whole / name).read_bytes()
    assert not (again / "learning").exists()


def test_merges_that_keep_to_morphemes_give_pieces_that_do(folder):
    """Every stem ends and every suffix begins alike, so that plain merges join the two."""
    words = [(stem + "k", "a" + end) for stem in ("mu", "bö", "çi", "sü") for end in "rlmzğ"]
    text = "".join(f" {''.join(word)}" * (i + 2) for i, word in enumerate(words))
    rows = "".join(
        f"1\t{form}\t_\t_\t_\t_\t2\t{name}\t_\t_\n"
        for word in words
        for form, name in zip(word, ("ig", "root"), strict=True)
    )
    gold = folder / "gold.conllu"
    gold.write_text(rows, "utf-8")
    scores = []
    for name, extra in (("plain", ()), ("aware", ("--morph-aware", f"--gold={gold}"))):
        sizes = ("--vocab-size=17", "--superwords=0")
        written = extend(folder, *sizes, *extra, text=text, out=name)
        encoder = Encoder(written / TOKENIZER_FILE, "--tokenizer")
        scores.append(score_boundaries(encoder, read_gold_boundaries(gold)))
    plain, aware = scores
    assert plain.words == aware.words == len(words)
    assert plain.precision < 0.5 < aware.precision
    assert plain.recall < 0.5 < aware.recall


def test_the_record_names_what_the_segmenter_is_made_of(folder):
    sizes = ("--vocab-size=10", "--superwords=0")
    written = extend(folder, *sizes, "--morph-aware", out="segmenter")
    record = json.loads((written / RECORD_FILE).read_text())
    source, lexicon = record["morphemes"].split(", ")
    assert re.fullmatch("segmenter [0-9a-f]{64}", source)
    assert lexicon == f"turkish-treebanks {importlib.metadata.version('turkish-treebanks')}"


def test_the_trainer_reads_it(out):
    content = (out / TOKENIZER_FILE).read_bytes()
    tokenizer = HuggingFaceTokenizer(content, "tokenizer.json")
    assert tokenizer.vocab_size == len(BpeFile.from_content(small_base(), "b").vocab) + 3 + _NEW
    assert tokenizer.id_to_piece(tokenizer.eos_id) == "<|endoftext|>"
    assert tokenizer.decode(tokenizer.encode(turkish())) == turkish()
    settings = json.loads((out / CONFIG_FILE).read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_it_is_not_made_twice(folder, out, capsys):
    before = (out / TOKENIZER_FILE).stat().st_mtime_ns
    extend(folder)
    assert "is there already" in capsys.readouterr().out
    assert (out / TOKENIZER_FILE).stat().st_mtime_ns == before
