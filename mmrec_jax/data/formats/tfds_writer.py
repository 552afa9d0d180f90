"""A TensorFlow data set of ArrayRecord files, written without TensorFlow."""

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from array_record.python import array_record_module

from mmrec_jax.data.formats.example_proto import write_example
from mmrec_jax.data.formats.tfds import (
    DICT_FEATURE,
    FEATURES_FILE,
    FILE_FORMAT,
    FILE_TEMPLATE,
    INFO_FILE,
    TEXT_FEATURE,
    shard_path,
)
from mmrec_jax.errors import UserError

VERSION = "1.0.0"
FEATURE = "text"


class TfdsWriter:
    """Writes texts, each as a `tf.train.Example` with the feature "text".

    The folder `root/name/[config/]1.0.0` appears when all is written and not before; what an
    interrupted one left is removed by the next. As a context manager it removes it at once.
    """

    def __init__(self, root: Path, name: str, config: str, shard_bytes: int):
        """Makes the folder.

        Args:
          root: the directory of data sets.
          name: of this one: letters, digits and "_".
          config: of its config; empty: it has none.
          shard_bytes: about the bytes of the texts in a file.

        Raises:
          UserError: a name is none, or the folder is there already or cannot be made.
        """
        for flag, value in (("--name", name), ("--config", config)):
            if (value or flag == "--name") and not re.fullmatch(r"[A-Za-z]\w*", value, re.ASCII):
                raise UserError(f"{flag} is {value!r}; it must be letters, digits and _")
        self.folder = root / name / config / VERSION
        self._name, self._config, self._shard_bytes = name, config, shard_bytes
        self._splits: dict[str, _Split] = {}
        self._unfinished = self.folder.with_name(f".{VERSION}.unfinished")
        if self.folder.exists():
            raise UserError(f"--out: {self.folder} is there already; remove it to write it anew")
        try:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            self._unfinished.mkdir(parents=True)
        except OSError as error:
            raise UserError(
                f"--out: {error.filename} cannot be written: {error.strerror}"
            ) from None

    def __enter__(self) -> "TfdsWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def write(self, split: str, text: str) -> None:
        """Adds a text to a split.

        Raises:
          UserError: the disk refuses it.
        """
        if split not in self._splits:
            self._splits[split] = _Split(self._unfinished, self._name, split, self._shard_bytes)
        self._splits[split].write(text.encode("utf-8"))

    def finish(self) -> dict[str, int]:
        """Makes the data set appear.

        Returns:
          The number of texts of each split.

        Raises:
          UserError: the disk refuses it.
        """
        for split in self._splits.values():
            split.close()
        info = {
            "fileFormat": FILE_FORMAT,
            "moduleName": "mmrec_jax.data.formats.tfds_writer",
            "name": self._name,
            "splits": [split.info() for split in self._splits.values()],
            "version": VERSION,
        }
        if self._config:
            info["configName"] = self._config
        text = {"pythonClassName": TEXT_FEATURE, "text": {}}
        features = {
            "featuresDict": {"features": {FEATURE: text}},
            "pythonClassName": DICT_FEATURE,
        }
        try:
            for file, content in ((INFO_FILE, info), (FEATURES_FILE, features)):
                (self._unfinished / file).write_text(json.dumps(content, indent=2), "utf-8")
            os.replace(self._unfinished, self.folder)
        except OSError as error:
            raise UserError(f"--out: {self.folder} cannot be written: {error.strerror}") from None
        return {name: sum(split.lengths) for name, split in self._splits.items()}


class _Split:
    """The files of one split; their names are known when their number is."""

    def __init__(self, folder: Path, name: str, split: str, shard_bytes: int):
        self.lengths: list[int] = []
        self._folder, self._name, self._split = folder, name, split
        self._shard_bytes = shard_bytes
        self._bytes = 0
        self._room = 0
        self._writer: array_record_module.ArrayRecordWriter | None = None

    def write(self, text: bytes) -> None:
        if self._writer is None or self._room <= 0:
            self._end_shard()
            self._open(self._path(len(self.lengths)))
        record = write_example({FEATURE: text})
        self._do("write", record)
        self.lengths[-1] += 1
        self._bytes += len(record)
        self._room -= len(text)

    def close(self) -> None:
        self._end_shard()
        for number in range(len(self.lengths)):
            final = shard_path(
                self._folder, FILE_TEMPLATE, self._name, self._split, number, len(self.lengths)
            )
            os.replace(self._path(number), final)

    def info(self) -> dict[str, object]:
        return {
            "filepathTemplate": FILE_TEMPLATE,
            "name": self._split,
            "numBytes": str(self._bytes),
            "shardLengths": [str(length) for length in self.lengths],
        }

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._split}-{number:05d}"

    def _open(self, path: Path) -> None:
        # One record in each group, as the readers of TensorFlow Datasets expect.
        self._writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
        self.lengths.append(0)
        self._room = self._shard_bytes

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._do("close")
            self._writer = None

    def _do(self, method: str, *arguments: bytes) -> None:
        try:
            getattr(self._writer, method)(*arguments)
        except RuntimeError as error:
            reason = str(error).split("; ")[0]
            raise UserError(f"--out: {self._folder} cannot be written: {reason}") from None


def write_tfds(
    texts: Iterable[tuple[str, str]], root: Path, name: str, config: str, shard_bytes: int
) -> tuple[Path, dict[str, int]]:
    """Writes (split, text) pairs as a data set, one at a time.

    Returns:
      Its folder, and the number of texts of each split.

    Raises:
      UserError: as `TfdsWriter`; or there is no text.
    """
    with TfdsWriter(root, name, config, shard_bytes) as writer:
        for split, text in texts:
            writer.write(split, text)
        counts = writer.finish()
    return writer.folder, counts
