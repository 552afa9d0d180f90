"""Documents of files and of the built-in texts, and how they are split."""

import gzip
import importlib
import importlib.metadata
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from mmrec_jax.data import sources, treebank
from mmrec_jax.data.document import Document
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.prepare import large_text
from mmrec_jax.data.split import hash_share, hold_out
from tests.small_data import assert_same, config_of, data_config, refused

_SPLITS = ("train", "validation", "test")


def texts(documents):
    return [document.text for document in documents]


def test_the_text_of_a_document_is_in_nfc_and_else_as_it_was():
    assert Document("a", "s\u0327 I\u0307").text == "\u015f \u0130"
    for text in ("\ufb01 \u00bd", " a\r\n\tb \n"):  # which NFKC would change, or a strip
        assert Document("a", text).text == text


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text("bir\n\niki\n\nüç\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "dört"}\nno\n{"text": "beş"}', encoding="utf-8")
    (tmp_path / "v.txt").write_text("altı\n\n iki\n", encoding="utf-8")
    return tmp_path


def loaded(train, **fields):
    """(training texts by source, validation texts), from the tokens."""
    config = config_of("text", train, **fields)
    data = config.data.open(config, Path("-"))

    def texts_of(store):
        ends = itertools.pairwise(store.offsets.tolist())
        return [data.tokenizer.decode(store.tokens[a + 1 : b - 1]) for a, b in ends]

    held = [] if data.validation is None else texts_of(data.validation)
    return {store.name: texts_of(store) for store in data.train}, held


@pytest.fixture(params=["memory", "cache"])
def memory(request, monkeypatch, tmp_path):
    """Texts are held in memory, or prepared into the cache; it makes no difference to them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "cache":
        monkeypatch.setattr(sources, "_read", lambda *_: None)
    return request.param == "memory"


def test_sources_keep_their_names_and_bad_records_are_listed(memory, folder, capsys):
    names = f"{folder}/a.txt", f"{folder}/b.jsonl"
    expected = dict(zip(names, (["bir", "iki", "üç"], ["dört", "beş"]), strict=True))
    options = {"validation": f"{folder}/v.txt", "on_error": "skip"}
    for weights in ((), (3, 1)):
        train, held = loaded(",".join(names), weights=weights, **options)
        if not (memory or weights):
            expected, kept = {names[0]: [*expected[names[0]], *expected[names[1]]]}, expected
        assert train == expected
        expected = expected if memory or weights else kept
        assert held == ["altı", " iki"]
        told = capsys.readouterr().err
        assert f"{folder}/b.jsonl:2" in told
        assert "1 of its texts are in config.data.train" in told
    with refused(f"{folder}/b.jsonl:2"):
        loaded(names[1])
    with refused("config.data.validation", "gone.txt"):
        loaded(names[0], validation="gone.txt")
    with refused("config.data.weights"):
        loaded(names[0], weights=(1.0, 2.0))
    with refused(f"{folder}/*.txt"):  # its files are those of the first
        loaded(f"{folder},{folder}/*.txt", weights=(1, 1), validation_fraction=0, on_error="skip")


def test_a_share_is_held_out_of_all_sources_or_nothing_is(memory, tmp_path, capsys):
    words = [f"belge {number}" for number in range(300)]
    (tmp_path / "a.txt").write_text("\n\n".join(words), "utf-8")
    (tmp_path / "b.txt").write_text("\n\n".join(f" {word} \n" for word in words), "utf-8")
    names = f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"
    fields = {"validation_fraction": 0.2, "weights": (1, 1)}
    train, held = loaded(",".join(names), **fields)
    outside = {word for word in words if hash_share(word) < 0.2}
    assert {text.strip() for text in held} == outside
    for name in names:
        assert {text.strip() for text in train[name]} == set(words) - outside
    config = config_of("text", ",".join(names), **fields)
    assert texts(config.data.validation_documents(config)) == held
    capsys.readouterr()
    train, held = loaded(names[0], validation_fraction=0)
    assert (train, held) == ({names[0]: words}, [])
    assert "config.data.validation_fraction is 0" in capsys.readouterr().err


def test_a_source_of_which_all_is_held_out_is_none_or_told(memory, tmp_path):
    words = [f"belge {number}" for number in range(300)]
    words.sort(key=hash_share)
    (tmp_path / "a.txt").write_text(words[0], "utf-8")
    (tmp_path / "b.txt").write_text("\n\n".join(words[1:]), "utf-8")
    names = f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"
    train, held = loaded(",".join(names), validation_fraction=0.2)
    assert list(train) == [names[memory]]
    assert words[0] in held
    with refused(names[0]):
        loaded(",".join(names), validation_fraction=0.2, weights=(1, 1))


@pytest.mark.parametrize("content", ["", " \n\n\t\n"])
def test_an_empty_corpus(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    with refused("config.data.train", "empty", tmp_path / "a.txt"):
        loaded(tmp_path / "a.txt")


def test_what_is_larger_than_it_seems_is_prepared_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small, large = tmp_path / "a.txt.gz", tmp_path / "b.txt.gz"
    lines = [f"{number} " + "x" * 10_000 for number in range(200)]
    small.write_bytes(gzip.compress("\n\n".join(lines[:20]).encode()))
    large.write_bytes(gzip.compress("\n\n".join(lines).encode()))  # small, but 2 MB of text
    loaded(small, memory_mb=1)
    assert not (tmp_path / "cache").exists()
    for _ in range(2):
        train, held = loaded(large, memory_mb=1)
        assert sorted([*train[str(large)], *held]) == sorted(lines)
    assert len(list((tmp_path / "cache").glob("mmrec_jax/text/*"))) == 1
    monkeypatch.setattr(large_text, "_VALIDATION_SHARE", 1 << 12)
    assert len(loaded(large, memory_mb=1, validation_fraction=0.5)[1]) < 20
    assert "and not config.data.validation_fraction = 0.5" in capsys.readouterr().err
    config = config_of("text", large, memory_mb=1, tokenizer__kind="bpe", model__vocab_size=265)
    assert config.data.open(config, tmp_path / "tokenizers").tokenizer.vocab_size == 265
    for name in ("mmrec_jax.data.prepare.executors", "datatrove.executor"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datatrove", None)
    with refused("config.data.memory_mb", "mmrec_jax[prepare]"):
        loaded(large, memory_mb=1)


def test_a_single_file_is_cut_by_characters(tmp_path):
    path, whole = tmp_path / "one.txt", "0123456789" * 10
    path.write_text(whole)
    train, (held,) = loaded(path, documents="file", validation_fraction=0.1)
    assert train == {str(path): [whole[: int(len(whole) * 0.9)]]}
    assert train[str(path)][0] + held == whole


def test_a_corpus_that_moved_goes_on(memory, tmp_path):
    """The position in the data is that of its content, not of its path."""

    def batches(name, *more):
        (tmp_path / name).mkdir()
        words = [*(f"{number} numaralı belge" for number in range(200)), *more]
        (tmp_path / name / "a.txt").write_text("\n\n".join(words), "utf-8")
        config = config_of("text", tmp_path / name, seq_len=16, validation_fraction=0)
        return config.data.open(config, tmp_path / "tokenizers").batches(4)

    first, moved = batches("here"), batches("there")
    next(first)
    moved.set_state(first.get_state())
    assert_same([next(moved)], [next(first)])
    with refused("other data"):
        batches("changed", "bir daha").set_state(first.get_state())


def documents_of(texts):
    return [Document(f"d{i}", text) for i, text in enumerate(texts)]


def test_hold_out_keeps_documents_whole_and_copies_on_one_side():
    documents = documents_of(f"text {i}" for i in range(400))
    (train,), held = split_of(documents, 0.25)
    assert sorted(train + held, key=lambda d: int(d.name[1:])) == documents
    assert len(held) / 400 == pytest.approx(0.25, abs=0.08)
    copies = [*texts(documents), *(f"\t{each}\n" for each in texts(documents)), "new"]
    (train_twice,), held_twice = split_of(documents_of(copies), 0.25)
    assert {each.strip() for each in texts(held_twice)} - {"new"} == set(texts(held))
    assert not {each.strip() for each in texts(train_twice)} & set(texts(held))
    (train,), held = split_of(documents_of(["bir", "iki", "üç"]), 1e-9)  # always something
    assert len(train) == 2
    assert texts(held) == [min(("bir", "iki", "üç"), key=hash_share)]
    with refused("one", 1, "config.data.validation"):
        split_of([Document("one", "x")], 0.1)
    with refused("config.data.validation"):
        split_of(documents_of(["same", "same "]), 0.5)


def split_of(documents, fraction):
    train, held = hold_out({"a": documents}, fraction)
    return train.values(), held


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
    found = treebank.annotated_words("\n".join(lines), "a.conllu")
    assert [[group[1] for group in word.groups] for word in found] == expected
    with refused("a.conllu:3: ", 2, 10):
        lines = ["# text = Ev.", row("1", "ev"), "2\tvar"]
        list(treebank.annotated_words("\n".join(lines), "a.conllu"))
