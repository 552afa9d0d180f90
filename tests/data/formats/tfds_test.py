"""Data sets as TFDS lays them out, built by the command and read back."""

import json

import pytest

from mmrec_jax.cli import main
from mmrec_jax.data.sources import load_documents, read_documents
from mmrec_jax.data.split import hash_share
from tests.small_data import data_config, refused

TEXTS = [f"belge {n}\n{n} söz" + ", söz" * n for n in range(200)]
_NAME = "belgeler/tr"


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
    for split, held in (("train", False), ("validation", True)):
        found = [each.text for each in read_documents(f"tfds:{_NAME}:{split}")]
        assert found == [text for text in TEXTS if (hash_share(text) < 0.2) == held]
    assert not list((root / _NAME).glob(".*"))
    info = json.loads((root / _NAME / "1.0.0/dataset_info.json").read_text())
    assert (info["name"], info["configName"], info["version"]) == ("belgeler", "tr", "1.0.0")
    lengths = [int(length) for each in info["splits"] for length in each["shardLengths"]]
    assert sum(lengths) == len(TEXTS)
    monkeypatch.delenv("TFDS_DATA_DIR")  # a run names the directory
    versioned = f"tfds:{_NAME}/1.0.0:validation"
    options = {"validation": versioned, "tfds_dir": str(root)}
    config = data_config("text", f"tfds:{_NAME}:train", **options)
    documents = load_documents(config, "train") + load_documents(config, "validation")
    assert sorted(each.text for each in documents) == sorted(TEXTS)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        (_NAME, ("tfds:NAME",)),
        ("belgeler/en:train", ("belgeler/en",)),
        (f"{_NAME}:test", ("'test'", "train, validation")),
    ],
)
def test_wrong_names(root, monkeypatch, name, named):
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    with refused("--data", *named):
        read_documents(f"tfds:{name}")


def test_broken_data_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "a.txt").write_text("\n\n".join(f"{n} " + "x" * 300_000 for n in range(8)))
    build = ["data", "build-tfds", "--source", f"{tmp_path}/a.txt", "--name", "d", "--shard-mb"]
    main([*build, "1", "--out", str(tmp_path)])
    folder = tmp_path / "d/1.0.0"
    shards = sorted(folder.glob("d-train.array_record-*"))
    assert len(shards) == 2
    assert len(read_documents("tfds:d:train")) == 8

    def wrong(*named, **options):
        with refused(*named):
            read_documents("tfds:d:train", **options)

    shards[1].write_bytes(shards[0].read_bytes()[:-1])
    wrong(shards[1].name)
    info = folder / "dataset_info.json"
    whole = info.read_text()
    info.write_text(whole.replace('"4"', '"5"'))
    wrong(shards[0].name, "4 records", "says 5")
    info.write_text(whole.replace("array_record", "tfrecord"))
    wrong("tfrecord", "array_record")
    info.write_text(whole)
    shards[1].unlink()
    wrong(shards[1].name)
    wrong("features.json", "'body'", "text", field="body")


def test_bad_options_of_the_command(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(" \n")
    base = ["data", "build-tfds", "--source", f"{tmp_path}/a.txt", "--out", str(tmp_path)]

    def refuses(named, *options):
        with pytest.raises(SystemExit):
            main([*base, *options])
        assert named in capsys.readouterr().err.splitlines()[-1]

    refuses("--name", "--name", "a/b")
    refuses("--shard-mb", "--name", "a", "--shard-mb", "0")
    refuses("--validation-fraction", "--name", "a", "--validation-fraction", "1")
    refuses("--source", "--name", "a")
    refuses("--out", "--name", "a", "--out", "/dev/null")
    refuses("--out", "--name", "a", "--source", str(tmp_path))
    assert [path.name for path in (tmp_path / "a").iterdir()] == []
    (tmp_path / "a.txt").write_text("bir")
    main([*base, "--name", "a"])
    refuses("a/1.0.0", "--name", "a")
