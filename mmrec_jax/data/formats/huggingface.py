"""Data sets of the Hugging Face `datasets` package, as the Arrow files that it writes."""

import json
import re
from pathlib import Path

from mmrec_jax.errors import UserError

_STATE, _SPLITS = "state.json", "dataset_dict.json"


def huggingface_files(name: str, option: str) -> list[Path]:
    """The Arrow files of a split.

    Args:
      name: "NAME:split", where NAME is what `datasets.load_dataset` takes, or a folder that
        `save_to_disk` wrote; of one with a single split, ":split" may be left out.
      option: the name of the config field or option, for error messages.

    Raises:
      UserError: there is no such data set or split, or the package is not installed.
    """
    place, _, split = name.rpartition(":")
    folder = Path(place or name).expanduser()
    if is_saved(folder):
        return _saved_files(folder, split if place else "", option)
    # Of a part, such as train[:10%], `datasets` would name the whole files.
    if not (place and re.fullmatch(r"\w[\w.-]*", split)):
        raise UserError(
            f"{option}: hf:{name} must be hf:NAME:split, with the name of a whole split"
        )
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{option}: hf:{name} is read with datasets, which is not installed: "
            "pip install 'mmrec_jax[huggingface]'"
        ) from None
    try:
        found = datasets.load_dataset(place, split=split)
    except Exception as error:  # whatever the hub, its client or the data set's files raise
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{option}: hf:{name} cannot be loaded: {reason}") from None
    return [Path(file["filename"]) for file in found.cache_files]


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return (folder / _STATE).is_file() or (folder / _SPLITS).is_file()


def _saved_files(folder: Path, split: str, option: str) -> list[Path]:
    try:
        if (folder / _SPLITS).is_file():
            splits = json.loads((folder / _SPLITS).read_text("utf-8"))["splits"]
            if split not in splits:
                raise UserError(
                    f"{option}: {folder} has the splits {', '.join(splits)}; name one: "
                    f"hf:{folder}:{splits[0]}"
                )
            folder /= split
        files = json.loads((folder / _STATE).read_text("utf-8"))["_data_files"]
        return [folder / file["filename"] for file in files]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(f"{option}: {folder}: the data set's {_STATE} is damaged") from None
