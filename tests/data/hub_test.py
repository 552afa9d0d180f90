"""What the libraries of data sets hold, and what is said where one is absent."""

import os
import sys

import pytest

from mmrec_jax.data.files.reading import find_sources
from tests.small_data import refused
from tests.small_files import FILES, TEXTS, texts, write


@pytest.mark.parametrize(
    ("module", "pattern", "extra"),
    [
        ("pyarrow", "a.parquet", "files"),
        ("datasets", "hf:a:b", "files"),
        ("tensorflow_datasets", "tfds:a:b", "tfds"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, module, pattern, extra):
    write(tmp_path / "a.parquet", FILES["rows.parquet"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with refused(pattern, f"mmrec_jax[{extra}]"):
        texts(pattern)


def test_what_save_to_disk_wrote(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"text": ["bir", "iki"]})
    one.save_to_disk(tmp_path / "one")
    for pattern in (f"{tmp_path}/one", f"hf:{tmp_path}/one"):
        assert texts(pattern) == ["bir", "iki"]
    datasets.DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(tmp_path / "two")
    assert texts(f"hf:{tmp_path}/two:test") == ["iki"]
    with refused(f"{tmp_path}/two", "train, test"):
        texts(f"hf:{tmp_path}/two")
    for name in ("words", "words:train[:10%]"):
        with refused(f"hf:{name}"):
            texts(f"hf:{name}")
    (tmp_path / "one/state.json").write_text("{")
    with refused(f"{tmp_path}/one"):
        texts(tmp_path / "one")


def test_a_split_of_tensorflow_datasets(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Belgeler(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        code_path = None  # in a package it would be looked up with a package that may be missing

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
            )

        def _split_generators(self, manager):
            return {"train": ((number, {"text": text}) for number, text in enumerate(TEXTS))}

        def _generate_examples(self):
            raise NotImplementedError

    Belgeler(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("belgeler", None)  # as in another process
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert sorted(texts("tfds:belgeler:train")) == sorted(TEXTS)
    for name in ("belgeler:test", "belgeler", "other:train"):
        with refused("--data", f"tfds:{name}"):
            texts(f"tfds:{name}")
    before = find_sources("tfds:belgeler:train", "--data")[0].key
    os.utime(tmp_path / "belgeler/1.0.0", ns=(1, 1))
    assert find_sources("tfds:belgeler:train", "--data")[0].key != before
