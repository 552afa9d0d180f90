"""Local TensorFlow Datasets, read without TensorFlow (www.tensorflow.org/datasets).

A data set lies in `NAME/[CONFIG/]VERSION/`: `dataset_info.json` says which files each split has and
how many records are in each, `features.json` what a record holds.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.data.formats.json_record import FIELD_OPTION, no_field
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

INFO_FILE, FEATURES_FILE = "dataset_info.json", "features.json"
FILE_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
TEXT_FEATURE = "tensorflow_datasets.core.features.text_feature.Text"
DICT_FEATURE = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
FILE_FORMAT = "array_record"


def tfds_shards(name: str, directory: str, field: str, option: str) -> list[tuple[Path, int]]:
    """The files of a split and the number of records in each.

    Args:
      name: "NAME:split", "NAME/CONFIG:split" or "NAME/CONFIG/VERSION:split"; the highest version
        is taken where none is named.
      directory: where data sets lie; empty: $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
      field: the feature that holds the text.
      option: the name of the config field or option, for error messages.

    Raises:
      UserError: there is no such data set, split, field or file, or its form is another.
    """
    place, _, split = name.rpartition(":")
    if not (place and re.fullmatch(r"\w[\w.-]*", split)):
        raise UserError(f"{option}: tfds:{name} must be tfds:NAME/CONFIG:split")
    chosen = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = Path(chosen).expanduser()
    folder = _newest(root / place)
    if folder is None:
        raise UserError(
            f"{option}: there is no data set {place} in {root} (config.data.tfds_dir, or "
            "--tfds-dir, or TFDS_DATA_DIR)"
        )
    info = read_json_object(folder / INFO_FILE, f"{option}: {folder / INFO_FILE}")
    if info.get("fileFormat") != FILE_FORMAT:
        raise UserError(
            f"{option}: {folder} is of the file format {info.get('fileFormat', 'tfrecord')}; "
            f'without TensorFlow only "{FILE_FORMAT}" is read: prepare it as file_format='
            f'"{FILE_FORMAT}"'
        )
    _require_text(folder, field, option)
    try:
        return list(_shards(info, folder, split, option))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{option}: {folder / INFO_FILE}: this file is damaged") from None


def shard_path(folder: Path, template: str, name: str, split: str, number: int, count: int) -> Path:
    """Where file `number` of `count` of a split lies."""
    return folder / template.format(
        DATASET=name,
        SPLIT=split,
        FILEFORMAT=FILE_FORMAT,
        SHARD_X_OF_Y=f"{number:05d}-of-{count:05d}",
    )


def _newest(folder: Path) -> Path | None:
    """The folder itself, or the highest of the versions in it."""
    if (folder / INFO_FILE).is_file():
        return folder
    versions = [
        each
        for each in (folder.iterdir() if folder.is_dir() else ())
        if re.fullmatch(r"\d+\.\d+\.\d+", each.name) and (each / INFO_FILE).is_file()
    ]
    return max(
        versions, key=lambda each: [int(part) for part in each.name.split(".")], default=None
    )


def _require_text(folder: Path, field: str, option: str) -> None:
    path = folder / FEATURES_FILE
    content = read_json_object(path, f"{option}: {path}")
    features = content.get("featuresDict", {}).get("features", {})
    if field not in features:
        raise UserError(no_field(field, features, f"{option}: {path}", FIELD_OPTION))
    kind = features[field].get("pythonClassName", "")
    dtype = features[field].get("tensor", {}).get("dtype", "")
    if kind != TEXT_FEATURE and dtype not in ("string", "object"):
        raise UserError(
            f"{option}: {path}: feature {field!r} is a {kind.rpartition('.')[2]} {dtype}".rstrip()
            + ", not a text"
        )


def _shards(
    info: dict[str, Any], folder: Path, split: str, option: str
) -> Iterator[tuple[Path, int]]:
    splits = {each["name"]: each for each in info["splits"]}
    if split not in splits:
        raise UserError(
            f"{option}: {folder} has no split {split!r}; its splits are: {', '.join(splits)}"
        )
    lengths = [int(length) for length in splits[split]["shardLengths"]]
    template = splits[split].get("filepathTemplate", FILE_TEMPLATE)
    for number, length in enumerate(lengths):
        path = shard_path(folder, template, info["name"], split, number, len(lengths))
        if not path.is_file():
            raise UserError(f"{option}: a file of the data set is missing: {path}")
        yield path, length
