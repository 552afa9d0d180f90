"""Mistakes at the command line of `mmrec tokenizer extend`."""

import pytest

from mmrec_jax.cli import main
from tests.tokenizers.small_base import turkish, write_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "text.txt").write_text(turkish(60), "utf-8")
    (folder / "whole.conllu").write_text("1\tgöl" + "\t_" * 8 + "\n", "utf-8")
    (folder / "empty.txt").write_text("")
    (folder / "latin5.txt").write_bytes("şehir ".encode("iso-8859-9"))
    base = write_base(folder)
    other = base.read_text("utf-8").replace("[\\\\r\\\\n]*", "[\\\\r\\\\n]+")
    (folder / "other.json").write_text(other, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--base=FOLDER/text.txt"], "text.txt: this is not a Hugging Face tokenizer.json"),
        (["--base=FOLDER/no.json"], "no.json: cannot be read"),
        (["--text=FOLDER/no.txt"], "--text: there is no file"),
        (["--text=FOLDER/empty.txt"], "--text: there is no text in it"),
        (["--text=FOLDER/latin5.txt"], "latin5.txt: not UTF-8 at byte offset 0 (0xfe)"),
        (["--vocab-size=0"], "--vocab-size is 0"),
        (["--vocab-size=5000"], "--vocab-size is 5000; this text supports at most 1"),
        (["--superwords=30"], "--superwords is 30; it must be at least 0 and below"),
        (["--superwords=-1"], "--superwords is -1"),
        (
            ["--vocab-size=2000", "--superwords=1990"],
            "--superwords is 1990; this text supports at most",
        ),
        (["--base=FOLDER/other.json", "--superwords=5"], "--superwords needs the pre-tokeniser of"),
        (["--gold=FOLDER/text.txt"], "--gold is used with --morph-aware alone"),
        (["--morph-aware", "--gold=FOLDER/text.txt"], "text.txt:1: 1 columns; CoNLL-U has 10"),
        (["--morph-aware", "--gold=FOLDER/whole.conllu"], "whole.conllu: no word is split"),
        (["--protect=FOLDER/no.txt"], "--protect: there is no file"),
        (["--out=FOLDER/text.txt"], "cannot keep what is learned here"),
    ],
)
def test_a_mistake_is_one_line(folder, capsys, arguments, expected):
    defaults = ["--base=FOLDER/tokenizer.json", "--text=FOLDER/text.txt", "--vocab-size=30"]
    given = [*defaults, "--out=FOLDER/out", "--fresh", "--protect=", *arguments]
    with pytest.raises(SystemExit) as exit_:
        main(["tokenizer", "extend", *(each.replace("FOLDER", str(folder)) for each in given)])
    assert exit_.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "it/s" not in line and line]
    assert said[-1].startswith("error: ")
    assert expected in said[-1]
    assert not (folder / "out" / "tokenizer.json").exists()


def test_other_settings_do_not_continue_what_was_begun(folder, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    arguments = [f"--base={folder / 'tokenizer.json'}", f"--text={folder / 'text.txt'}"]
    arguments += [f"--out={folder / 'begun'}", "--protect="]
    with monkeypatch.context() as patch:
        patch.setattr("mmrec_jax.tokenizers.extension.learn_stage", stop)
        with pytest.raises(SystemExit):
            main(["tokenizer", "extend", *arguments, "--vocab-size=30"])
    with pytest.raises(SystemExit):
        main(["tokenizer", "extend", *arguments, "--vocab-size=20"])
    assert "made with other settings (vocab_size); give those" in capsys.readouterr().err
    main(["tokenizer", "extend", *arguments, "--vocab-size=20", "--fresh"])
    assert (folder / "begun" / "tokenizer.json").exists()
    with pytest.raises(SystemExit):
        main(["tokenizer", "extend", *arguments, "--vocab-size=30"])
    assert "made with other settings (vocab_size); give those" in capsys.readouterr().err
