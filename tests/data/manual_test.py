import importlib

import pytest

from mmrec_jax.data.kinds.text import ManualConfig
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.errors import UserError


def test_topics_are_documents_in_sorted_order():
    documents = manual_documents()
    names = [document.name for document in documents]
    assert names == sorted(names)
    assert len(documents) > 60
    assert sum(len(document.text) for document in documents) > 300_000
    assert 'The "with" statement' in next(d.text for d in documents if d.name == "with")


def test_split_of_some_topics():
    config = ManualConfig()
    names = {
        split: {document.name for document in config.load(split)}
        for split in ("train", "validation", "test")
    }
    assert {"augassign", "class"} <= names["validation"]
    assert {"bltin-null-object", "break"} <= names["test"]
    assert {"assert", "assignment", "function"} <= names["train"]
    assert sum(map(len, names.values())) == len(set().union(*names.values()))


def test_python_without_its_manual(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(UserError, match=r"needs pydoc_data\.topics, which this Python lacks"):
        manual_documents()
