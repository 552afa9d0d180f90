"""Documents of files and of the built-in texts, and how they are split."""

import hashlib
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from mmrec_jax.data import treebank
from mmrec_jax.data.document import Document
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.sources import read_documents
from mmrec_jax.data.split import fixed_split, hash_share, hold_out
from mmrec_jax.data.word_groups import word_groups
from tests.small_data import data_config, refused

_SHAKESPEARE = Path(__file__).parents[3] / "shared/data/text/en_tinyshakespeare.txt"
_SPLITS = ("train", "validation", "test")


def texts(documents):
    return [document.text for document in documents]


def test_the_text_of_a_document_is_in_nfc_and_else_as_it_was():
    assert Document("a", "s\u0327 I\u0307").text == "\u015f \u0130"
    assert Document("a", "\ufb01 \u00bd").text == "\ufb01 \u00bd"  # which NFKC would change
    assert Document("a", " a\r\n\tb \n").text == " a\r\n\tb \n"
    assert Document("a", "s\u0327").utf8 == b"\xc5\x9f"
    assert Document("a", "s\u0327").composed
    assert not Document("a", "ş\u0331").composed  # normalised anew, and the same
    assert not Document("a", "abc").composed
    assert Document("a", "s\u0327") == Document("a", "ş")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text("bir\n\niki\n\nüç\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "dört"}\nno\n', encoding="utf-8")
    (tmp_path / "v.txt").write_text("altı\n", encoding="utf-8")
    return tmp_path


def test_validation_files_or_a_share_is_held_out(folder):
    config = data_config("text", folder / "a.txt", validation=f"{folder}/v.txt")
    assert texts(config.load("train")) == ["bir", "iki", "üç"]
    assert texts(config.load("validation")) == ["altı"]
    config = data_config("text", folder / "a.txt", validation_fraction=0.4)
    train, validation = (texts(config.load(split)) for split in _SPLITS[:2])
    assert sorted(train + validation) == ["bir", "iki", "üç"]
    assert train
    assert validation
    found = read_documents(f"{folder}/a.txt,{folder}/v.txt", documents="line")
    assert texts(found) == ["bir", "iki", "üç", "altı"]
    with refused('"text"', "--data FILE"):
        config.load("test")
    with refused("config.data.validation", "gone.txt"):
        data_config("text", folder / "a.txt", validation="gone.txt").load("validation")


def test_bad_records_are_skipped_and_listed_when_asked(folder, capsys):
    (folder / "b.jsonl").rename(folder / "b.txt")  # the kind of the source, not the suffix, counts
    path = folder / "b.txt"
    config = data_config("jsonl", path, validation=str(path), on_error="skip")
    assert texts(config.load("train")) == ["dört"]
    assert "b.txt:2" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0123456789" * 10, _SHAKESPEARE])
def test_a_single_file_is_cut_by_characters(tmp_path, text):
    path = text if isinstance(text, Path) else tmp_path / "one.txt"
    if not isinstance(text, Path):
        path.write_text(text)
    elif not path.is_file():
        pytest.skip("the text is not beside the repository")
    whole = path.read_text("utf-8")
    config = data_config("text", path, documents="file", validation_fraction=0.1)
    (train,), (validation,) = (texts(config.load(split)) for split in _SPLITS[:2])
    assert train + validation == whole
    assert len(train) == int(len(whole) * 0.9)


def test_shares_are_the_hash_of_the_key_as_a_fraction():
    for key in ("", "tr-blog:00000584", "çığ"):
        expected = int(hashlib.sha256(key.encode()).hexdigest(), 16) / 2**256
        assert hash_share(key) == pytest.approx(expected, abs=1e-15)
    names = [fixed_split(f"document {i}") for i in range(20_000)]
    for split in ("validation", "test"):
        assert names.count(split) / 20_000 == pytest.approx(0.05, abs=0.006)
    digest = hashlib.sha256(b"rows -3").hexdigest()
    assert hashed_seed("rows", -3) == int(digest[:16], 16)


def documents_of(texts):
    return [Document(f"d{i}", text) for i, text in enumerate(texts)]


def test_hold_out_keeps_documents_whole_and_copies_on_one_side():
    documents = documents_of(f"text {i}" for i in range(400))
    train, held = hold_out(documents, 0.25)
    assert sorted(train + held, key=lambda d: int(d.name[1:])) == documents
    assert len(held) / 400 == pytest.approx(0.25, abs=0.08)
    train_twice, held_twice = hold_out(documents_of([*texts(documents) * 2, "new"]), 0.25)
    assert set(texts(held_twice)) - {"new"} == set(texts(held))
    assert not set(texts(train_twice)) & set(texts(held_twice))
    train, held = hold_out(documents_of(["bir", "iki", "üç"]), 1e-9)  # always something
    assert len(train) == 2
    assert texts(held) == [min(("bir", "iki", "üç"), key=hash_share)]
    with refused("one", 1, "config.data.validation"):
        hold_out([Document("one", "x")], 0.1)
    with refused("config.data.validation"):
        hold_out(documents_of(["same", "same"]), 0.5)


def test_the_manual_is_its_topics(monkeypatch):
    documents = {document.name: document.text for document in manual_documents()}
    assert list(documents) == sorted(documents)
    assert len(documents) > 60
    assert sum(map(len, documents.values())) > 300_000
    assert 'The "with" statement' in documents["with"]
    splits = {split: data_config("manual").load(split) for split in _SPLITS}
    names = {split: {document.name for document in part} for split, part in splits.items()}
    assert {"augassign", "class"} <= names["validation"]
    assert {"bltin-null-object", "break"} <= names["test"]
    assert {"assert", "assignment", "function"} <= names["train"]

    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with refused("pydoc_data.topics"):
        manual_documents()


def test_the_treebank_is_that_of_the_package_and_its_split_never_changes():
    splits = {split: data_config("treebank").load(split) for split in _SPLITS}
    names = {split: [document.name for document in part] for split, part in splits.items()}
    assert list(map(len, splits.values())) == [2119, 118, 142]
    assert len(set().union(*names.values())) == 2379
    assert names["train"] == sorted(names["train"])
    assert "http://tr.wikipedia.org/wiki/%C4%B0stanbul" in names["validation"]
    assert "http://tr.wikipedia.org/wiki/%C4%B0%C4%9Fneada,_Demirk%C3%B6y" in names["test"]
    assert {"http://tr.wikipedia.org/wiki/Tar%C4%B1m", "tr-blog:00000584"} <= set(names["train"])
    assert sum(len(document.text.encode()) for document in splits["train"]) == 424021
    documents = {document.name: document.text for document in treebank.treebank_documents()}
    assert sum(text.count("\n") + 1 for text in documents.values()) == 4851
    text = documents["tr-blog:00000683"].split("\n")
    assert [sentence.split()[0] for sentence in text] == ["Hanefi", "Bedenin", "Gusülden", "Cuma"]


def test_the_package_of_the_treebank_is_not_imported():
    code = (
        "import sys; from mmrec_jax.data.treebank import treebank_documents as t; t();"
        "sys.exit(any(m.startswith(('turkish_treebanks', 'google.protobuf')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("named", ["pip install turkish-treebanks", "wiki.conllu"])
def test_a_missing_package_or_file_is_named(monkeypatch, tmp_path, named):
    class Broken:
        def locate_file(self, name):
            return tmp_path / name

    def distribution(name):
        if named == "wiki.conllu":
            return Broken()
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with refused(named):
        treebank.treebank_documents()


def row(number, form, relation="_"):
    """A row of CoNLL-U."""
    return "\t".join([number, form, *"_____", relation, "_", "_"])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [row("1", "Ev", "ig"), row("2", "ki", "ig"), row("3", "ler", "nsubj"), row("4", "var")],
            [["Ev", "ki", "ler"], ["var"]],
        ),
        # Ranges and empty nodes are no words.
        (
            [row("1-2", "evdeki"), row("1", "evde", "ig"), row("1.1", "boş"), row("2", "ki")],
            [["evde", "ki"]],
        ),
        # No word reaches over the end of a sentence.
        ([row("1", "ev", "ig"), "", row("1", "yok")], [["yok"]]),
        ([row("1", "ev", "ig"), "# text = Yok.", row("1", "yok")], [["yok"]]),
    ],
)
def test_rows_with_the_relation_ig_are_joined_to_the_next(lines, expected):
    groups = word_groups("\n".join(lines), "a.conllu")
    assert [[each[1] for each in group] for group in groups] == expected
    with refused("a.conllu:3: ", 2, 10):
        list(word_groups("\n".join(["# text = Ev.", row("1", "ev"), "2\tvar"]), "a.conllu"))
