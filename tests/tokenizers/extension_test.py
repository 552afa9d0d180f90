"""`mmrec tokenizer extend` on a small text: what the library makes of the files."""

import gzip
import json
import re
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers

from mmrec_jax.cli import main
from mmrec_jax.tokenizers import extension
from mmrec_jax.tokenizers.bpe_file import BpeFile, unspell
from mmrec_jax.tokenizers.cache import CONFIG_FILE, read_tokenizer_file
from mmrec_jax.tokenizers.extension import (
    MERGES_FILE,
    RECORD_FILE,
    TOKENIZER_FILE,
    ExtensionPlan,
    learn_extension,
)
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.protection import Protection
from mmrec_jax.tokenizers.report import score_boundaries
from mmrec_jax.tokenizers.text import Source, text_chunks
from mmrec_jax.turkish import segmenter
from tests.refused import mistake
from tests.tokenizers.small_base import ENGLISH, SPECIAL, small_base, turkish, write_base

_NEW, _SUPERWORDS = 160, 40
_PROTECTED = "A hole in it. Bird's set: 'do'! {x: 1}\n"


def extend(folder, *arguments, text=None, out="out"):
    """Runs the command; returns the folder that it wrote."""
    (folder / "text.txt").write_text(text or turkish(), "utf-8")
    files = {"base": "tokenizer.json", "text": "text.txt", "protect": "protected.txt", "out": out}
    options = [f"--{name}={folder / file}" for name, file in files.items()]
    sizes = [f"--vocab-size={_NEW}", f"--superwords={_SUPERWORDS}"]
    main(["tokenizer", "extend", *options, *sizes, *arguments])
    return folder / out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extension")
    write_base(folder)
    (folder / "protected.txt").write_text(ENGLISH + _PROTECTED, "utf-8")
    return folder


@pytest.fixture(scope="module")
def out(folder):
    return extend(folder)


@pytest.fixture(scope="module")
def extended(out):
    return read_library((out / TOKENIZER_FILE).read_bytes())


@pytest.fixture(scope="module")
def base():
    return read_library(small_base())


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_old_tokens_and_special_ones_keep_their_ids(out, extended, base):
    old, new = base.get_vocab(), extended.get_vocab()
    assert old.items() <= new.items()
    assert sorted(new.values()) == list(range(len(old) + _NEW))
    assert read_tokenizer_file(out / TOKENIZER_FILE, "--tokenizer").lossless
    settings = json.loads((out / CONFIG_FILE).read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    plain = tokenizers.Tokenizer.from_str(extended.to_str())
    for index, token in enumerate(SPECIAL, len(old) - len(SPECIAL)):
        assert ids(plain, f"a{token}b")[1] == index
        assert index not in ids(extended, f"a{token}b")  # a text that looks like it


def test_every_new_token_is_the_encoding_of_its_own_text(extended, base):
    vocab = extended.get_vocab()
    new = {vocab[token]: unspell(token) for token in vocab.keys() - base.get_vocab().keys()}
    texts = {index: data.decode("utf-8", "ignore") for index, data in new.items()}
    whole = [index for index in new if texts[index].encode() == new[index]]
    assert len(whole) > 0.9 * _NEW
    assert all(ids(extended, texts[index]) == [index] for index in whole)


def test_text_of_another_language_keeps_its_ids(extended, base):
    assert ids(extended, ENGLISH) == ids(base, ENGLISH)
    assert ids(extended, _PROTECTED) == ids(base, _PROTECTED)
    assert len(ids(extended, turkish())) < 0.5 * len(ids(base, turkish()))


def test_any_nfc_text_comes_back(extended, rng):
    alphabet = [chr(code) for code in range(1, 0x250)] + list("\u0307\u0301ﬁ→한\U0001f600\u200d")
    alphabet += [" ", "\n", "'"] * 40 + turkish(20).split(" ")
    picked = rng.integers(0, len(alphabet), (5_000, 12))
    texts = [unicodedata.normalize("NFC", "".join(alphabet[i] for i in row)) for row in picked]
    encodings = extended.encode_batch_fast(texts, add_special_tokens=False)
    assert extended.decode_batch([each.ids for each in encodings]) == texts


def test_text_is_split_less_often_and_only_before_followers(extended, base, rng):
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


def test_what_was_learned_is_what_the_library_encodes(folder, out, extended, monkeypatch):
    """The sequences that each stage left, against encodings with its merges."""
    stages = {}
    learn = extension.learn_merges

    def remember(stage, vocabulary, sequence, *rest):
        left = learn(stage, vocabulary, sequence, *rest)
        stages[stage] = vocabulary.tokens, sequence.symbols, left.symbols
        return left

    monkeypatch.setattr(extension, "learn_merges", remember)
    # However often pairs are counted anew, the files are the same.
    monkeypatch.setattr("mmrec_jax.tokenizers.learning._BETWEEN_COUNTS", 20)
    monkeypatch.setattr("mmrec_jax.tokenizers.text._BATCH", 1_000)
    again = extend(folder, out="counted")
    for name in (TOKENIZER_FILE, CONFIG_FILE, MERGES_FILE):
        assert (again / name).read_bytes() == (out / name).read_bytes()
    rows = (line.split("\t") for line in (out / MERGES_FILE).read_text("utf-8").splitlines()[1:])
    superwords = [row[1] for row in rows].count("superword")
    assert superwords >= _SUPERWORDS
    settings = json.loads((out / TOKENIZER_FILE).read_bytes())
    merges = settings["model"]["merges"]
    del merges[len(merges) - superwords :]
    subwords_alone = read_library(json.dumps(settings).encode())
    vocab, _, symbols = stages["subword"]
    words = np.split(symbols, np.flatnonzero(symbols == -1) + 1)[:-1]
    assert len(words) > 90
    for word in words:
        tokens = [vocab[index] for index in word[:-1].tolist()]
        assert subwords_alone.encode(unspell("".join(tokens)).decode()).tokens == tokens
    _, before, after = stages["superword"]
    saved = (before >= 0).sum() - (after >= 0).sum()
    assert saved == len(ids(subwords_alone, turkish())) - len(ids(extended, turkish()))
    assert saved > 500


def test_the_pre_tokens_of_gpt2_are_split_less_often_too(tmp_path):
    """As SmolLM2 has them: single digits, then the expression that is built into ByteLevel."""
    settings = json.loads(small_base())
    spelling = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    steps = [{"type": "Digits", "individual_digits": True}, spelling | {"use_regex": True}]
    settings["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    (tmp_path / "protected.txt").write_text(ENGLISH, "utf-8")
    written = extend(tmp_path, "--vocab-size=100", "--superwords=30")
    old, new = (
        read_library(x.read_bytes()) for x in (tmp_path / TOKENIZER_FILE, written / TOKENIZER_FILE)
    )
    for text in (ENGLISH, "It's  12 cats,\n  'they'd' (see). x+=1 \n"):
        assert new.encode(text).ids == old.encode(text).ids
    before, after = (
        {start for _, (start, _) in each.pre_tokenizer.pre_tokenize_str(turkish())}
        for each in (old, new)
    )
    assert after < before
    assert len(ids(new, turkish())) < 0.5 * len(ids(old, turkish()))
    assert new.decode(ids(new, turkish())) == turkish()


@pytest.mark.parametrize("options", [("--superwords=20",), ("--superwords=0", "--morph-aware")])
def test_nothing_is_learned_of_added_tokens_or_across_them(tmp_path, options):
    settings = json.loads(small_base())
    first = len(read_library(small_base()).get_vocab())
    plain = {**settings["added_tokens"][0], "normalized": False, "special": False}
    # The last one is a character of the byte-level spelling, too, and has the id of its byte.
    names = ("<think>", "şehir", "ö")
    more = [plain | {"id": first + i, "content": name} for i, name in enumerate(names)]
    settings["added_tokens"] += [
        *more,
        {**plain, "id": first + 3, "content": "ler", "single_word": True},
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    (tmp_path / "protected.txt").write_text(ENGLISH, "utf-8")
    text = turkish().replace(", ", " <think>")
    written = extend(tmp_path, "--vocab-size=60", *options, text=text)
    old, new = (
        read_library(x.read_bytes()) for x in (tmp_path / TOKENIZER_FILE, written / TOKENIZER_FILE)
    )
    known, vocab = old.get_vocab(), new.get_vocab()
    assert known.items() <= vocab.items()
    assert len(vocab) == len(known) + 60
    learned = "\n".join(unspell(token).decode("utf-8", "replace") for token in vocab.keys() - known)
    assert not re.search("ö|think|şehir", learned)
    assert "ler" not in learned.split("\n")
    assert new.encode("<think>şehir").ids == old.encode("<think>şehir").ids
    if "--morph-aware" in options:
        source, lexicon = json.loads((written / RECORD_FILE).read_text())["morphemes"].split(", ")
        assert re.fullmatch("segmenter [0-9a-f]{64}", source)
        assert lexicon.startswith("turkish-treebanks ")
    assert new.get_added_tokens_decoder().keys() == old.get_added_tokens_decoder().keys()


def test_merges_that_keep_to_morphemes_give_tokens_that_do(folder, monkeypatch):
    """Every stem ends and every suffix begins alike, so that plain merges join the two."""
    words = [(stem + "k", "a" + end) for stem in ("mu", "bö", "çi", "sü") for end in "rlmzğ"]
    text = "".join(f" {''.join(word)}" * (i + 2) for i, word in enumerate(words))
    gold = {"".join(word): {len(word[0])} for word in words}
    segmented = {word: SimpleNamespace(boundaries=lambda x=x: x) for word, x in gold.items()}
    monkeypatch.setattr(segmenter, "segment", segmented.__getitem__)
    scores = []
    for name, extra in (("plain", ()), ("aware", ("--morph-aware",))):
        sizes = ("--vocab-size=17", "--superwords=0")
        written = extend(folder, *sizes, *extra, text=text, out=name)
        tokenizer = read_tokenizer_file(written / TOKENIZER_FILE, "--tokenizer")
        scores.append(score_boundaries(tokenizer, gold))
    plain, aware = scores
    assert plain["words"] == aware["words"] == len(words)
    for name in ("precision", "recall"):
        assert plain[name] < 0.5 < aware[name]


def test_files_are_weighted_by_the_text_that_is_read(tmp_path):
    """The same sentences in four forms that differ in bytes on disk."""
    sentences = turkish(50).splitlines()
    text = "".join(sentences)
    rows = "1\tgöl" + "\t_" * 8 + "\n"
    forms = {
        "a.txt": text.encode(),
        "a.txt.gz": gzip.compress(text.encode()),
        "a.jsonl": "".join(json.dumps({"text": each}) + "\n" for each in sentences).encode(),
        "a.conllu": "".join(f"# text = {each}\n{rows * 9}\n" for each in sentences).encode(),
        "short.txt": text[: len(text) // 3].encode(),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
    base = BpeFile.from_content(small_base(), "base.json")
    files = [tmp_path / name for name in forms]
    plan = ExtensionPlan(base, files, 10, balance=0.0, protection=Protection([]))
    reports = []
    learn_extension(plan, lambda *report: reports.append(report))
    sizes = [sum(len(chunk.encode()) for chunk in text_chunks(path)) for path in files]
    sources = [Source(size, 100, 1) for size in sizes]
    assert plan.weights(sources) == [10, 10, 10, 10, 30]
    assert sum(sizes) == 4 * len(text.encode()) + len(forms["short.txt"])
    counted = [done for name, done, _ in reports if name == "counting words"]
    assert counted[-2] == sum(sizes)


def test_by_default_a_word_counts_as_the_share_of_those_that_occur_once():
    plan = ExtensionPlan(BpeFile.from_content(small_base(), "base.json"), [], 10)
    sources = [Source(9, 1000, 20), Source(9, 1000, 70), Source(9, 100, 2), Source(9, 0, 0)]
    assert plan.weights(sources) == [10, 35, 10, 500]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "text.txt").write_text(turkish(60), "utf-8")
    (folder / "empty.txt").write_text("")
    other = write_base(folder).read_text("utf-8").replace("[\\\\r\\\\n]*", "[\\\\r\\\\n]+")
    (folder / "other.json").write_text(other, "utf-8")
    (folder / "pieces").mkdir()
    (folder / "pieces" / "tokenizer.model").write_bytes(b"\n\x00")
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--base=FOLDER/text.txt", "text.txt: "),
        ("--base=FOLDER/no.json", "no.json: cannot be read"),
        ("--base=FOLDER/pieces", "pieces/tokenizer.model: this is sentencepiece; give a base"),
        ("--text=FOLDER/no.txt", "--text: there is no file"),
        ("--text=FOLDER/empty.txt", "--text: "),
        ("--vocab-size=0", "--vocab-size is 0"),
        ("--vocab-size=5000", "--vocab-size is 5000"),
        ("--superwords=30", "--superwords is 30"),
        ("--superwords=-1", "--superwords is -1"),
        ("--balance=2", "--balance is 2"),
        ("--vocab-size=2000 --superwords=1990", "--superwords is 1990"),
        ("--base=FOLDER/other.json --superwords=5", "other.json: --superwords"),
        ("--protect=FOLDER/no.txt", "--protect: there is no file"),
        ("--out=FOLDER/text.txt", "text.txt: "),
    ],
)
def test_a_mistake_is_one_line(mistakes, capsys, arguments, expected):
    defaults = "--base=FOLDER/tokenizer.json --text=FOLDER/text.txt --vocab-size=30 --protect="
    given = f"{defaults} --out=FOLDER/out --fresh {arguments}".replace("FOLDER", str(mistakes))
    assert expected in mistake(capsys, "tokenizer", "extend", *given.split())
    assert not (mistakes / "out" / "tokenizer.json").exists()


def test_what_is_there_is_neither_made_twice_nor_replaced_by_another(mistakes, capsys):
    arguments = ["extend", f"--base={mistakes / 'tokenizer.json'}", "--protect="]
    arguments += [f"--text={mistakes / 'text.txt'}", f"--out={mistakes / 'made'}"]
    main(["tokenizer", *arguments, "--vocab-size=30"])
    before = (mistakes / "made" / TOKENIZER_FILE).stat().st_mtime_ns
    main(["tokenizer", *arguments, "--vocab-size=30"])
    assert "(vocab_size)" in mistake(capsys, "tokenizer", *arguments, "--vocab-size=20")
    assert (mistakes / "made" / TOKENIZER_FILE).stat().st_mtime_ns == before
    main(["tokenizer", *arguments, "--vocab-size=20", "--fresh"])
    assert (mistakes / "made" / TOKENIZER_FILE).stat().st_mtime_ns != before
    for damaged in ("[1]", "{"):
        (mistakes / "made" / RECORD_FILE).write_text(damaged)
        main(["tokenizer", *arguments, "--vocab-size=20"])
        assert json.loads((mistakes / "made" / RECORD_FILE).read_text())["vocab_size"] == 20
