"""Data sets by name: `hf:NAME:split` of `datasets`, `tfds:NAME:split` of TensorFlow Datasets."""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.data.files.paths import in_home
from mmrec_jax.errors import UserError

_SAVED = ("state.json", "dataset_dict.json")  # of a folder that `save_to_disk` wrote
_NAMED = re.compile(r"(.+):(\w[\w.-]*)")


def is_saved(folder: Path) -> bool:
    """Whether `datasets.Dataset.save_to_disk` wrote a folder."""
    return any(os.path.isfile(folder / name) for name in _SAVED)


def huggingface_files(name: str, option: str) -> list[Path]:
    """The Arrow files of a split, "NAME:split"; an error names `option`.

    NAME is what `datasets.load_dataset` takes, or a folder that `save_to_disk` wrote; of one with a
    single split, ":split" may be left out.

    Raises:
      UserError: there is no such data set or split, or the package is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise _missing(f"{option}: hf:{name}", "datasets", "files") from None
    match = None if is_saved(in_home(name)) else _NAMED.fullmatch(name)
    source, split = match.groups() if match else (name, "")
    saved = is_saved(folder := in_home(source))
    if not (split or saved):
        raise UserError(f"{option}: hf:{name} must be hf:NAME:split, a whole split")
    found: Any
    try:
        if saved:
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(source, split=split)
    except Exception as error:  # whatever the hub, its client or the data set's files raise
        raise _unreadable(f"{option}: hf:{name}", error) from None
    if isinstance(found, dict):
        if split not in found:
            raise UserError(
                f"{option}: {source} has the splits {', '.join(found)}; name one: "
                f"hf:{source}:{next(iter(found))}"
            )
        found = found[split]
    return [Path(file["filename"]) for file in found.cache_files]


@dataclasses.dataclass(frozen=True)
class TfdsSplit:
    """One split of a data set of TensorFlow Datasets, read without TensorFlow.

    The data sets are in $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
    """

    name: str  # "NAME:split", "NAME/CONFIG:split" or "NAME/CONFIG/VERSION:split"
    option: str  # the config field or option, for error messages

    def __str__(self) -> str:
        return f"tfds:{self.name}"

    def open(self) -> Any:
        """The records, by their index.

        Raises:
          UserError: there is no such data set or split, or the package is not installed.
        """
        match = _NAMED.fullmatch(self.name)
        if match is None:
            raise UserError(f"{self.option}: {self} must be tfds:NAME/CONFIG:split")
        try:
            import tensorflow_datasets
        except ImportError:
            raise _missing(f"{self.option}: {self}", "tensorflow_datasets", "tfds") from None
        try:
            folder = os.environ.get("TFDS_DATA_DIR")  # which the package looks at once
            return tensorflow_datasets.data_source(
                match[1], split=match[2], data_dir=folder, download=False
            )
        except Exception as error:  # which are of many kinds
            raise _unreadable(f"{self.option}: {self}", error) from None

    @property
    def identity(self) -> str:
        """What another version of the data set does not share."""
        info = self.open().dataset_info
        return f"{info.full_name} {os.stat(info.data_dir).st_mtime_ns}"

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """("tfds:NAME:split, record n", features) of each record."""
        source = self.open()
        for number in range(len(source)):
            location = f"{self}, record {number + 1}"
            try:
                record = source[number]
            except Exception as error:
                raise _unreadable(location, error) from None
            yield location, record


def _unreadable(what: str, error: Exception) -> UserError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return UserError(f"{what}: cannot be read: {reason}")


def _missing(what: str, package: str, extra: str) -> UserError:
    return UserError(
        f"{what} is read with {package}, which is not installed: pip install 'mmrec_jax[{extra}]'"
    )
