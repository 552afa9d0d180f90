"""The figures of the report against counts by hand."""

import json
from collections import Counter

import pytest
import sentencepiece

from mmrec_jax.cli import main
from mmrec_jax.tokenizers.bpe_file import BpeFile, spell
from mmrec_jax.tokenizers.cache import read_tokenizer_file
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.report import mixed_share, score_boundaries
from tests.refused import mistake
from tests.tokenizers.conftest import model_file
from tests.tokenizers.small_base import small_base, write_base

_TEXT = "Bir göl var. Bir göl daha!\nThe cat sat."
_GOLD = "".join(
    f"1\t{form}\t_\t_\t_\t_\t2\t{name}\t_\t_\n"
    for form, name in (("göl", "ig"), ("de", "ig"), ("ki", "root"), ("bir", "root"))
)


@pytest.fixture
def files(tmp_path):
    """The small tokenizer, and one with the token " göl" and one that nothing gives."""
    base = BpeFile.from_content(small_base(), "base.json")
    o, e = spell("ö")
    merges = [("Ġ", "g"), ("Ġg", o), ("Ġg" + o, e), ("Ġg" + o + e, "l"), ("1", "2")]
    tokens = ["".join(merge) for merge in merges]
    extended = tmp_path / "extended.json"
    extended.write_bytes(base.extended(tokens, merges, None))
    text = tmp_path / "text.txt"
    text.write_text(_TEXT, "utf-8")
    gold = tmp_path / "gold.conllu"
    gold.write_text(_GOLD, "utf-8")
    return write_base(tmp_path), extended, text, gold


def command(folder, tokenizer, base, text, *more):
    options = [f"--tokenizer={tokenizer}", f"--base={base}", f"--text={text}"]
    return ["tokenizer", "report", *options, f"--out={folder / 'report'}", *more]


def report(folder, *arguments):
    main(command(folder, *arguments))
    return json.loads((folder / "report" / "report.json").read_text("utf-8"))


def test_the_figures(files, tmp_path, capsys):
    base, extended, text, gold = files
    found = report(tmp_path, extended, base, text, f"--gold={gold}")
    library = read_library(small_base())
    tokens = len(library.encode(_TEXT).ids)
    assert len(library.pre_tokenizer.pre_tokenize_str(_TEXT)) == 12
    assert (found["new_tokens"], found["unreachable"]) == (5, ["12"])
    (score,) = found["texts"]
    size = len(_TEXT.encode())
    expected = {
        "bytes": size,
        "characters": size - 2,
        "words": 9,
        "base_tokens": tokens,
        "tokens": tokens - 8,
        "tokens_a_word": (tokens - 8) / 9,
        "bytes_a_token": size / (tokens - 8),
        "characters_a_token": (size - 2) / (tokens - 8),
        "reduction": pytest.approx(8 / tokens),
        "ceiling": pytest.approx(1 - 12 / tokens),
        "sentences": 3,
        "changed_sentences": 2,
        "base_mixed": None,  # no token of the base has two vowels in a word, nor " daha" here
    }
    assert {name: score[name] for name in expected} == expected
    words = Counter(len(library.encode(f" {word}").ids) for word in _TEXT.split())
    shares = {str(number): count / 9 for number, count in sorted(words.items())}
    assert score["base_words_by_tokens"] == pytest.approx(shares)
    assert sum(score["words_by_tokens"].values()) == pytest.approx(1)
    assert (tmp_path / "report" / "report.png").stat().st_size > 1000
    # " gölde|ki" with gold göl|de|ki: tokens " göl", then letters; of the base, letters alone.
    now, before = (found["boundaries"][name] for name in ("tokenizer", "base"))
    assert (now["words"], now["morpheme_boundaries"], now["both"]) == (1, 2, 2)
    assert (now["piece_boundaries"], now["precision"], now["recall"]) == (4, 0.5, 1.0)
    assert before["piece_boundaries"] == 6
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert markdown in capsys.readouterr().out
    assert f" {(tokens - 8) / 9:.3f} | {tokens / 9:.3f} |" in markdown


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--base=no.json", "--base: no.json"),
        ("--base=NO_UNK", "U+0042"),
        ("--text=EMPTY", "empty.txt: "),
        ("--gold=TEXT", "text.txt:1: "),
        ("--out=TEXT/report", "text.txt/report: "),
    ],
)
def test_a_mistake_is_one_line(files, tmp_path, capsys, argument, expected):
    base, extended, text, _ = files
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    no_unk = tmp_path / "unigram.json"
    no_unk.write_text(json.dumps({"model": {"type": "Unigram", "vocab": [["</s>", 0.0]]}}))
    argument = (
        argument.replace("NO_UNK", str(no_unk))
        .replace("TEXT", str(text))
        .replace("EMPTY", str(empty))
    )
    assert expected in mistake(capsys, *command(tmp_path, extended, base, text, argument))


@pytest.mark.parametrize("kept", [True, False])
def test_boundaries_whether_the_space_before_a_word_is_spelled_or_not(tmp_path, kept):
    path = tmp_path / "a.model"
    path.write_bytes(model_file(add_dummy_prefix=not kept, remove_extra_whitespaces=not kept))
    tokenizer = read_tokenizer_file(path, "--tokenizer")
    processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    for word in ("gölköprü", "denizağaç"):
        tokens = processor.encode(f" {word}", out_type=str)
        assert "".join(tokens) == f"\u2581{word}"
        borders = {len("".join(tokens[:count])) - 1 for count in range(1, len(tokens))} - {0}
        assert borders
        score = score_boundaries(tokenizer, {word: borders})
        assert score["both"] == score["piece_boundaries"] == len(borders)
        assert score["recall"] == 1
        assert score["whole_words"] == 0


def test_vowels_are_mixed_token_by_token_and_word_by_word(tmp_path):
    tokens = ["evler", "kitap", "İKİ", "ıI", " bir oda", "e", "xyz", "evlar", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "xyz"}
    path = tmp_path / "tokenizer.json"
    settings = {"model": model, "added_tokens": [], "pre_tokenizer": None}
    path.write_text(json.dumps(settings), "utf-8")
    tokenizer = read_tokenizer_file(path, "--tokenizer")
    # Two vowels in one word: evler, kitap (mixed), İKİ, ıI, " bir oda" (of "oda"), evlar (mixed).
    assert mixed_share(tokenizer, dict.fromkeys(range(8), 1)) == 2 / 6
    assert mixed_share(tokenizer, {0: 3, 7: 1, 5: 100}) == 1 / 4
    assert mixed_share(tokenizer, {5: 2, 6: 1}) is None
