import json

import pytest

from mmrec_jax.cli import main
from mmrec_jax.config import DataConfig
from mmrec_jax.data.sources import load_documents, read_documents
from mmrec_jax.data.split import hash_share
from mmrec_jax.errors import UserError

TEXTS = [f"belge {n}\n{n} söz" + ", söz" * n for n in range(200)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A directory of data sets with one that the command built."""
    root = tmp_path_factory.mktemp("tfds")
    source = root / "source"
    source.mkdir()
    (source / "a.txt").write_text("\n\n".join(TEXTS[:50]), "utf-8")
    (source / "b.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in TEXTS[50:]))
    command = ["data", "build-tfds", "--source", str(source), "--name", "belgeler"]
    main([*command, "--config", "tr", "--out", str(root), "--validation-fraction", "0.2"])
    return root


def test_a_data_set_is_built_and_read_back(root, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    found = {
        split: [each.text for each in read_documents(f"tfds:belgeler/tr:{split}")]
        for split in ("train", "validation")
    }
    assert found["train"] == [text for text in TEXTS if hash_share(text) >= 0.2]
    assert found["validation"] == [text for text in TEXTS if hash_share(text) < 0.2]
    assert not list((root / "belgeler/tr").glob(".*"))


def test_a_run_reads_it(root):
    config = DataConfig(
        source="text",
        train="tfds:belgeler/tr:train",
        validation="tfds:belgeler/tr/1.0.0:validation",
        tfds_dir=str(root),
    )
    documents = load_documents(config, "train") + load_documents(config, "validation")
    assert sorted(each.text for each in documents) == sorted(TEXTS)


def test_what_is_told_of_the_data_set(root):
    info = json.loads((root / "belgeler/tr/1.0.0/dataset_info.json").read_text())
    assert (info["name"], info["configName"], info["version"]) == ("belgeler", "tr", "1.0.0")
    lengths = {each["name"]: each["shardLengths"] for each in info["splits"]}
    assert sum(int(length) for each in lengths.values() for length in each) == len(TEXTS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("belgeler/tr", "--data: tfds:belgeler/tr must be tfds:NAME/CONFIG:split"),
        ("belgeler/en:train", "--data: there is no data set belgeler/en in "),
        ("belgeler/tr:test", "1.0.0 has no split 'test'; its splits are: train, validation"),
    ],
)
def test_wrong_names(root, monkeypatch, name, message):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    with pytest.raises(UserError) as caught:
        read_documents(f"tfds:{name}")
    assert message in str(caught.value)


def test_broken_data_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "a.txt").write_text("\n\n".join(f"{n} " + "x" * 300_000 for n in range(8)))
    build = ["data", "build-tfds", "--source", f"{tmp_path}/a.txt", "--name", "d", "--shard-mb"]
    main([*build, "1", "--out", str(tmp_path)])
    folder = tmp_path / "d/1.0.0"
    shards = sorted(folder.glob("d-train.array_record-*"))
    assert len(shards) == 2
    assert len(read_documents("tfds:d:train")) == 8
    shards[1].write_bytes(shards[0].read_bytes()[:-1])
    with pytest.raises(UserError, match=r"-00001-of-00002: this ArrayRecord file is damaged"):
        read_documents("tfds:d:train")
    info = folder / "dataset_info.json"
    whole = info.read_text()
    info.write_text(whole.replace('"4"', '"5"'))
    with pytest.raises(UserError, match=r"-00000-of-00002: this file has 4 records, but .* says 5"):
        read_documents("tfds:d:train")
    info.write_text(whole.replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"is of the file format tfrecord; .*\"array_record\" is r"):
        read_documents("tfds:d:train")
    info.write_text(whole)
    shards[1].unlink()
    with pytest.raises(UserError, match=r"a file of the data set is missing: .*-00001-of-00002"):
        read_documents("tfds:d:train")
    with pytest.raises(UserError, match=r"features.json: there is no field 'body'; .*: text"):
        read_documents("tfds:d:train", field="body")


def test_bad_options_of_the_command(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(" \n")
    base = ["data", "build-tfds", "--source", f"{tmp_path}/a.txt", "--out", str(tmp_path)]
    for options, message in (
        (["--name", "a/b"], "--name is 'a/b'; it must be letters, digits and _"),
        (["--name", "a", "--shard-mb", "0"], "--shard-mb is 0; it must be at least 1"),
        (["--name", "a", "--validation-fraction", "1"], "--validation-fraction is 1.0; it must"),
        (["--name", "a"], "--source: there is no text in"),
        (["--name", "a", "--out", "/dev/null"], "--out: "),
        (["--name", "a", "--source", str(tmp_path)], "lies in the folder"),
    ):
        with pytest.raises(SystemExit):
            main([*base, *options])
        assert message in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "a").iterdir()] == []
    (tmp_path / "a.txt").write_text("bir")
    main([*base, "--name", "a"])
    with pytest.raises(SystemExit):
        main([*base, "--name", "a"])
    assert "a/1.0.0 is there already; remove it" in capsys.readouterr().err
