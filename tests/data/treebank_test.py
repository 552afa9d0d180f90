import importlib.metadata
import subprocess
import sys

import pytest

from mmrec_jax.data import treebank
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.errors import UserError


@pytest.fixture(scope="module")
def splits():
    names = ("train", "validation", "test")
    return {name: TreebankConfig().load(name) for name in names}


def test_counts_are_those_of_the_package(splits):
    documents = treebank.treebank_documents()
    assert len(documents) == 2379
    assert sum(document.text.count("\n") + 1 for document in documents) == 4851
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 2119,
        "validation": 118,
        "test": 142,
    }


def test_split_never_changes(splits):
    names = {name: [document.name for document in split] for name, split in splits.items()}
    assert "http://tr.wikipedia.org/wiki/%C4%B0stanbul" in names["validation"]
    assert "http://tr.wikipedia.org/wiki/%C4%B0%C4%9Fneada,_Demirk%C3%B6y" in names["test"]
    assert "http://tr.wikipedia.org/wiki/Tar%C4%B1m" in names["train"]
    assert "tr-blog:00000584" in names["train"]
    assert sum(len(d.text.encode()) for d in splits["train"]) == 424021


def test_split_is_by_document(splits):
    names = [document.name for split in splits.values() for document in split]
    assert len(names) == len(set(names)) == 2379
    assert not any(":S" in name for name in names)


def test_sentences_of_a_document_stand_in_their_order():
    documents = {document.name: document.text for document in treebank.treebank_documents()}
    text = documents["tr-blog:00000683"].split("\n")
    assert [sentence.split()[0] for sentence in text] == ["Hanefi", "Bedenin", "Gusülden", "Cuma"]


def test_package_itself_is_not_imported():
    code = (
        "import sys; from mmrec_jax.data.treebank import treebank_documents as t; t();"
        "sys.exit(any(m.startswith(('turkish_treebanks', 'google.protobuf')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_package_names_the_command(monkeypatch):
    def refuse(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", refuse)
    with pytest.raises(UserError, match='"pip install turkish-treebanks"') as caught:
        treebank.treebank_documents()
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(monkeypatch, tmp_path):
    class Broken:
        def locate_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Broken())
    with pytest.raises(UserError, match=r"wiki\.conllu: this file .* is missing; reinstall it"):
        treebank.treebank_documents()
