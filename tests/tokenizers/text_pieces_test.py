import gzip

import pytest

from mmrec_jax.data.formats import byte_window
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers import text_pieces as module
from mmrec_jax.tokenizers.text_pieces import text_pieces

_TEXT = "göl\n\nağaç ve ışık\r\n" * 40 + "son" * 30


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(byte_window, "_READ", 7)
    monkeypatch.setattr(module, "_LONGEST", 50)


def test_the_pieces_are_the_text_in_whole_lines(tmp_path, small_blocks):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff".encode() + _TEXT.encode())
    pieces = list(text_pieces(path))
    assert "".join(pieces) == _TEXT
    assert len(pieces) > 40
    assert all(piece.endswith("\n") for piece in pieces if "son" not in piece)


def test_a_long_line_is_cut_before_a_space(tmp_path, small_blocks):
    path = tmp_path / "a.txt"
    path.write_text("kelime " * 60, "utf-8")
    pieces = list(text_pieces(path))
    assert "".join(pieces) == "kelime " * 60
    assert len(pieces) > 3
    assert all(piece.startswith(" ") for piece in pieces[1:])


def test_a_long_line_of_json_or_of_a_treebank_is_one_line(tmp_path, small_blocks):
    book = ("kelime " * 60).strip()
    lines = tmp_path / "a.jsonl"
    lines.write_text(f'{{"text": "{book}"}}\n{{"text": "son"}}\n', "utf-8")
    assert list(text_pieces(lines)) == [book, "son"]
    treebank = tmp_path / "a.conllu"
    treebank.write_text(f"# text = {book}\n1\tkelime\n", "utf-8")
    assert list(text_pieces(treebank)) == [book]


def test_json_lines_treebanks_and_archives(tmp_path):
    lines = tmp_path / "a.jsonl.gz"
    lines.write_bytes(gzip.compress('{"body": "bir"}\n\n{"body": "iki\\nüç"}\n'.encode()))
    assert list(text_pieces(lines, "body")) == ["bir", "iki\nüç"]
    treebank = tmp_path / "a.conllu"
    treebank.write_text("# sent_id = 1\n# text = Ev var.\n1\tEv\n\n# text = Yok.\n", "utf-8")
    assert list(text_pieces(treebank)) == ["Ev var.", "Yok."]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "göl ".encode() * 9 + b"\xfe", "not UTF-8 at byte offset 45 (0xfe); convert"),
        ("a.txt", "İstanbul'da".encode("iso-8859-9"), "not UTF-8 at byte offset 0 (0xdd)"),
        ("a.txt", "göl".encode("utf-16"), "not UTF-8 at byte offset 0 (0xff)"),
        ("a.txt", "göl".encode()[:2], "not UTF-8 at byte offset 1 (0xc3)"),
        ("a.txt.gz", gzip.compress(b"x" * 9_000, mtime=0)[:-12], "this .gz file is damaged"),
        (
            "a.jsonl",
            b'{"text": "a"}\n["text"]\n',
            "a.jsonl:2: this line is a list, not a JSON object",
        ),
        ("a.jsonl", b'{"body": "a"}\n', "a.jsonl:1: there is no field 'text'"),
        ("a.jsonl", b'{"text": 5}\n', "a.jsonl:1: field 'text' is a number, not a string"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl:1: field 'text' holds half"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path, small_blocks, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(text_pieces(path))
    assert str(error.value).startswith(str(path))
    assert expected in str(error.value)
