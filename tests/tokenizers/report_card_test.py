"""The figures of the report against counts by hand."""

import json

import pytest

from mmrec_jax.cli import main
from mmrec_jax.data.sentencepiece_tokenizer import train_sentencepiece
from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.byte_alphabet import spell
from tests.tokenizers.small_base import small_base, turkish, write_base

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
    merges = [("Ġ", "g"), ("Ġg", o), ("Ġg" + o, e), ("Ġgö".replace("ö", o + e), "l"), ("1", "2")]
    tokens = ["".join(merge) for merge in merges]
    extended = tmp_path / "extended.json"
    extended.write_bytes(base.extended(tokens, merges, None))
    text = tmp_path / "text.txt"
    text.write_text(_TEXT, "utf-8")
    gold = tmp_path / "gold.conllu"
    gold.write_text(_GOLD, "utf-8")
    return write_base(tmp_path), extended, text, gold


def report(folder, tokenizer, base, text, *more):
    options = [f"--tokenizer={tokenizer}", f"--base={base}", f"--text={text}"]
    main(["tokenizer", "report", *options, f"--out={folder / 'report'}", *more])
    return json.loads((folder / "report" / "report.json").read_text("utf-8"))


def test_the_figures(files, tmp_path, capsys):
    base, extended, text, gold = files
    found = report(tmp_path, extended, base, text, f"--gold={gold}")
    library = BpeFile.read(base).tokenizer()
    tokens = len(library.encode(_TEXT).ids)
    pre_tokens = len(library.pre_tokenizer.pre_tokenize_str(_TEXT))
    assert pre_tokens == 12
    assert (found["new_tokens"], found["unreachable"]) == (5, ["12"])
    (score,) = found["texts"]
    assert score["bytes"] == len(_TEXT.encode()) == len(_TEXT) + 2
    assert score["characters"] == len(_TEXT)
    assert (score["words"], score["base_tokens"], score["tokens"]) == (9, tokens, tokens - 8)
    assert score["tokens_a_word"] == (tokens - 8) / 9
    assert score["bytes_a_token"] == score["bytes"] / (tokens - 8)
    assert score["characters_a_token"] == len(_TEXT) / (tokens - 8)
    assert score["reduction"] == pytest.approx(8 / tokens)
    assert score["ceiling"] == pytest.approx(1 - 12 / tokens)
    assert (score["sentences"], score["changed_sentences"]) == (3, 2)
    alone = [len(library.encode(f" {word}").ids) for word in _TEXT.split()]
    assert score["base_tokens_per_word"] == {
        str(number): alone.count(number) for number in dict.fromkeys(alone)
    }
    assert sum(score["tokens_per_word"].values()) == 9
    # Of the text's words none has two vowels in a piece before; " daha" is not one piece either.
    assert score["base_mixed"] is None
    # " gölde|ki" with gold göl|de|ki: pieces " göl", then letters; before, letters alone.
    now, before = (found["boundaries"][name] for name in ("tokenizer", "base"))
    assert (now["words"], now["morpheme_boundaries"], now["both"]) == (1, 2, 2)
    assert (now["piece_boundaries"], now["precision"], now["recall"]) == (4, 0.5, 1.0)
    assert before["piece_boundaries"] == 6
    markdown = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert markdown in capsys.readouterr().out
    assert f"| text.txt | 9 | {(tokens - 8) / 9:.3f} | {tokens / 9:.3f} |" in markdown
    assert (tmp_path / "report" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_any_tokenizer_is_measured(files, tmp_path):
    model = tmp_path / "unigram.model"
    texts = turkish().split("\n")
    tokenizer = train_sentencepiece(texts, "unigram", 320, "vocab_size")
    model.write_bytes(tokenizer.content)
    found = report(tmp_path, model, files[0], files[2], f"--gold={files[3]}")
    assert found["new_tokens"] is None
    assert found["texts"][0]["tokens"] == len(tokenizer.encode(_TEXT))
    assert found["boundaries"]["tokenizer"]["words"] == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tokenizer=no.json"], "--tokenizer: no.json cannot be read"),
        (["--base=TEXT.json"], "--base: TEXT.json cannot be read"),
        (["--text=no.txt"], "--text: there is no file no.txt"),
        (["--text=EMPTY"], "there is no text in this file"),
        (["--gold=TEXT"], "1 columns; CoNLL-U has 10"),
        (["--out=TEXT/report"], "cannot write the report"),
    ],
)
def test_a_mistake_is_one_line(files, tmp_path, capsys, arguments, expected):
    base, extended, text, _ = files
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    for name, path in (("TEXT", text), ("EMPTY", empty)):
        if "TEXT.json" not in arguments[0]:
            arguments = [argument.replace(name, str(path)) for argument in arguments]
    with pytest.raises(SystemExit) as exit_:
        report(tmp_path, extended, base, text, *arguments)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert expected in said
    assert said.count("\n") == 1
