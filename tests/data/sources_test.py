import dataclasses
from pathlib import Path

import pytest

from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.data.kinds.text import JsonlConfig, TextConfig
from mmrec_jax.data.sources import read_documents
from mmrec_jax.errors import UserError

_SHAKESPEARE = Path(__file__).parents[3] / "shared/data/text/en_tinyshakespeare.txt"


def texts(documents):
    return [document.text for document in documents]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text("bir\n\niki\n\nüç\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "dört"}\n{"text": "beş"}\n', encoding="utf-8")
    (tmp_path / "v.txt").write_text("altı\n", encoding="utf-8")
    return tmp_path


def test_own_validation_files(folder):
    config = TextConfig(train=f"{folder}/a.txt", validation=f"{folder}/v.txt")
    assert texts(config.load("train")) == ["bir", "iki", "üç"]
    assert texts(config.load("validation")) == ["altı"]


def test_share_is_held_out_without_validation_files(folder):
    config = TextConfig(train=f"{folder}/a.txt", validation_fraction=0.4)
    both = [texts(config.load(split)) for split in ("train", "validation")]
    assert sorted(both[0] + both[1]) == ["bir", "iki", "üç"]
    assert all(both)


def test_single_file_is_cut_by_characters(tmp_path):
    (tmp_path / "one.txt").write_text("0123456789" * 10)
    config = TextConfig(train=f"{tmp_path}/one.txt", documents="file", validation_fraction=0.1)
    assert texts(config.load("train")) == ["0123456789" * 9]
    assert texts(config.load("validation")) == ["0123456789"]


def test_jsonl_source_ignores_the_suffix(folder):
    (folder / "b.jsonl").rename(folder / "b.txt")
    config = JsonlConfig(train=f"{folder}/b.txt", validation=f"{folder}/b.txt")
    assert texts(config.load("train")) == ["dört", "beş"]


def test_read_documents_chooses_by_suffix(folder):
    found = read_documents(f"{folder}/a.txt,{folder}/b.jsonl", documents="line")
    assert texts(found) == ["bir", "iki", "üç", "dört", "beş"]


def test_test_split_is_for_built_in_sources_only(folder):
    config = TextConfig(train=f"{folder}/a.txt")
    with pytest.raises(UserError, match=r'"text" has no test split; .*mmrec eval loss --data FILE'):
        config.load("test")


def test_empty_corpus_and_missing_file_name_their_field(folder):
    (folder / "empty.txt").write_text(" \n")
    config = TextConfig(train=f"{folder}/empty.txt")
    with pytest.raises(UserError, match=r"config\.data\.train: the corpus is empty: .*empty\.txt"):
        config.load("train")
    config = TextConfig(train=f"{folder}/a.txt", validation="gone.txt")
    with pytest.raises(UserError, match=r"config\.data\.validation: there is no file gone\.txt"):
        config.load("validation")
    with pytest.raises(UserError, match=r"--data: there is no file gone\.txt"):
        read_documents("gone.txt")


@pytest.mark.parametrize("source", ["treebank", "manual"])
def test_built_in_order_is_that_of_the_names(source):
    names = [document.name for document in DATA_KINDS[source]().load("train")]
    assert names == sorted(names)


@pytest.mark.skipif(not _SHAKESPEARE.is_file(), reason="the text is not beside the repository")
def test_usual_cut_of_tiny_shakespeare():
    config = TextConfig(train=str(_SHAKESPEARE), documents="file", validation_fraction=0.1)
    train, validation = (config.load(split) for split in ("train", "validation"))
    assert len(train[0].text) == 1_003_854
    assert len(validation[0].text) == 111_540
    assert len(set(train[0].text)) == 65


def test_bad_records_are_skipped_and_listed_when_asked(folder, capsys):
    (folder / "b.jsonl").write_text('{"text": "dört"}\nno\n', encoding="utf-8")
    config = JsonlConfig(train=f"{folder}/b.jsonl", validation=f"{folder}/b.jsonl", on_error="skip")
    assert texts(config.load("train")) == ["dört"]
    shown = capsys.readouterr().err
    assert shown.startswith("skipped 1 records or files that could not be read:\n")
    assert "b.jsonl:2: bad JSON" in shown
    with pytest.raises(UserError, match=r"b\.jsonl:2: bad JSON"):
        dataclasses.replace(config, on_error="stop").load("train")
