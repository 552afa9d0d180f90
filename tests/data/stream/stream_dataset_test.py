import dataclasses

import numpy as np
import pytest

from mmrec_jax.config import Config, DataConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.stream import stream_text
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.errors import UserError
from tests.small_run import write_text
from tests.small_stream import shard_documents, take, write_lines


def _config(train, kind="byte", **data):
    options = {"stream_workers": 0, "seq_len": 32, "shuffle_mb": 1, "documents": "line", **data}
    return Config(
        data=DataConfig(source="stream", train=str(train), **options),
        tokenizer=TokenizerConfig(kind=kind),
        train=TrainConfig(steps=1),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("lines") / "a", (80, 1, 60))


def _lines(folder):
    return [line for path in folder.iterdir() for line in path.read_text("utf-8").splitlines()]


def _texts(dataset):
    read = take(dataset.batches(2), 300)
    return {text for texts in shard_documents(read, 2) for text in texts}


def test_what_is_held_out_is_not_trained_on(folder, tmp_path):
    dataset = StreamDataset.open(_config(folder, validation_fraction=0.2), tmp_path)
    held_out = {line for line in _lines(folder) if hash_share(line) < 0.2}
    assert 10 < len(held_out) < 50
    assert dataset.validation.num_documents == len(held_out)
    assert dataset.validation.num_bytes == sum(len(line.encode()) for line in held_out)
    assert _texts(dataset) == set(_lines(folder)) - held_out
    assert dataset.longest(3, 16)["inputs"].shape == (3, 16)
    assert "stream, 3 files of " in dataset.describe()


def test_validation_files_are_held_whole_and_nothing_else_is_held_out(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "v.txt").write_text("bir\niki\n", "utf-8")
    config = _config(folder, validation=str(tmp_path / "v.txt"))
    dataset = StreamDataset.open(config, tmp_path)
    assert dataset.validation.num_documents == 2
    assert _texts(dataset) == set(_lines(folder))
    monkeypatch.setattr(stream_text, "_VALIDATION_BYTES", 5)
    with pytest.raises(UserError, match=r"config\.data\.validation: there are more than 0 MB"):
        StreamDataset.open(config, tmp_path)


def test_what_is_skipped_in_validation_files_is_told(folder, tmp_path, capsys):
    (tmp_path / "v.jsonl").write_text('{"text": "bir"}\n{"text": 5}\n', "utf-8")
    config = _config(folder, validation=str(tmp_path / "v.jsonl"), on_error="skip")
    assert StreamDataset.open(config, tmp_path).validation.num_documents == 1
    assert "v.jsonl:2" in capsys.readouterr().err


def test_a_tokenizer_is_made_of_the_beginning_of_every_source(tmp_path):
    for name, character in (("a", "ş"), ("b", "ğ")):
        (tmp_path / name).mkdir()
        text = "\n".join(f"{character * 9} {number}" for number in range(40))
        (tmp_path / name / "a.txt").write_text(text, "utf-8")
    config = _config(f"{tmp_path}/a,{tmp_path}/b", kind="char", weights="1,1")
    dataset = StreamDataset.open(config, tmp_path / "cache")
    assert dataset.tokenizer.encode("şğ 1").size == 4
    only = _config(f"{tmp_path}/a,{tmp_path}/b", kind="char", weights="1,0")
    with pytest.raises(UserError):
        StreamDataset.open(only, tmp_path / "cache").tokenizer.encode("ğ")


def test_lengths(folder, tmp_path):
    dataset = StreamDataset.open(_config(folder), tmp_path)
    assert dataset.steps_for(4, tokens=1000) == 8  # of 4 x 32
    assert dataset.steps_for(4, tokens=1025) == 9
    with pytest.raises(UserError, match=r"config\.train\.epochs is 2; .* use train\.steps"):
        dataset.steps_for(4, epochs=2)


def test_a_position_belongs_to_its_files_and_tokenizer(folder, tmp_path):
    iterator = StreamDataset.open(_config(folder), tmp_path).batches(4)
    next(iterator)
    state, after = iterator.get_state(), next(iterator)
    again = StreamDataset.open(_config(folder, ram_mb=900), tmp_path).batches(4)
    again.set_state(state)
    np.testing.assert_array_equal(next(again)["inputs"], after["inputs"])
    others = {
        "tokenizer": _config(folder, kind="char"),
        r"data\.seed \(saved 0, now 1\)": _config(folder, seed=1),
        r"data\.shuffle_mb": _config(folder, shuffle_mb=2),
        r"data\.train": _config(f"{folder}/[ac].txt"),
    }
    for named, config in others.items():
        other = StreamDataset.open(config, tmp_path).batches(4)
        with pytest.raises(UserError, match=f"belongs to other data: {named}"):
            other.set_state(state)
    with pytest.raises(UserError, match=r"train\.batch_size \(saved 4, now 8\)"):
        StreamDataset.open(_config(folder), tmp_path).batches(8).set_state(state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": "absent.txt"}, r"config\.data\.train: there is no file absent\.txt"),
        ({"weights": "1,2"}, "config.data.train has 1 sources"),
        ({"validation_fraction": 1e-9}, "holds out none of the documents"),
        ({"validation": "absent"}, r"config\.data\.validation: there is no file absent"),
        ({"ram_mb": 1, "stream_workers": 1}, r"config\.data\.ram_mb is 1; reading"),
    ],
)
def test_what_is_refused_before_anything_is_computed(folder, tmp_path, change, said):
    config = _config(folder)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, **change))
    with pytest.raises(UserError, match=said):
        StreamDataset.open(config, tmp_path).batches(8)


def test_an_empty_corpus(tmp_path):
    (tmp_path / "a.txt").write_text(" \n\n", "utf-8")
    with pytest.raises(UserError, match="the corpus is empty: there is no text in"):
        StreamDataset.open(_config(tmp_path / "a.txt"), tmp_path)


def test_files_that_are_not_held_out_from_blocks(tmp_path):
    """The cut of the config is used: blocks, where `text` would use them."""
    path = write_text(tmp_path / "words.txt")
    dataset = StreamDataset.open(
        _config(path, documents="block", validation_fraction=0.3), tmp_path
    )
    assert dataset.validation.num_documents > 5
