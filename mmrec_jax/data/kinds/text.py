"""The kinds of data that are running text."""

import dataclasses
import os
from typing import TYPE_CHECKING, Literal

from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.settings import at_least, setting, within

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.data.document import Document
    from mmrec_jax.data.mixture import Mixture
    from mmrec_jax.data.split import Split
    from mmrec_jax.tokenizers.tokenizer import Tokenizer

_FILES = (
    "your files: comma-separated paths, globs, folders, tfds:NAME/CONFIG:split (a local data set) "
    "or hf:NAME:split; .gz, .zst and .xz are read too"
)
_WEIGHTS = (
    "tokens from each part of `train`: (3, 1), or ((1, (3, 1)), (500, (1, 1))) with other weights "
    "from step 500 on; empty: every document once an epoch"
)


@dataclasses.dataclass(frozen=True)
class PackedConfig(DataConfig):
    """Documents in memory, packed into rows."""

    packing_windows: int = setting(
        1024, "windows packed into rows together (without train.carry_state)", at_least(1)
    )

    shards: int | None = setting(
        None,
        "virtual shards of a batch, a multiple of the processes; None: as many as divide "
        "train.batch_size and 8 (without train.carry_state)",
        at_least(1),
    )

    @property
    def mixture(self) -> "Mixture | None":
        """How the sources are mixed; None: every document once an epoch."""
        return None


@dataclasses.dataclass(frozen=True)
class FilesConfig(DataConfig):
    """The user's own files, all held in memory or read as they are needed."""

    train: str = setting("", _FILES)
    validation: str = setting("", "the same; empty: a share of the training data is held out")
    validation_fraction: float = setting(
        0.05, "held out when `validation` is empty", within(0, 1, "()")
    )
    max_record_mb: int = setting(64, "MiB; a longer document or record is refused", at_least(1))
    on_error: Literal["stop", "skip"] = setting(
        "stop", "skip: leave bad records out, and list them", free=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(bool(self.train), "train", "a path or glob of your files")

    @property
    def files(self) -> dict[str, str]:
        """See `DataConfig.files`."""
        return {
            name: getattr(self, name) for name in ("train", "validation") if getattr(self, name)
        }


@dataclasses.dataclass(frozen=True)
class RecordsConfig(FilesConfig):
    """Files of which records have a field with text."""

    field: str = setting("text", "of a record (JSON, Parquet, ...) that holds the text")
    tfds_dir: str = setting(
        "", "of tfds:; empty: $TFDS_DATA_DIR or ~/tensorflow_datasets", free=True
    )


@dataclasses.dataclass(frozen=True)
class TextFilesConfig(RecordsConfig):
    """Files of which some may be plain text."""

    documents: Literal["block", "line", "file"] = setting(
        "block", "of a text file: one per block between blank lines, per line, or per file"
    )


class _Documents(PackedConfig):
    """What kinds share whose documents are all in memory."""

    def load(self, split: "Split") -> "list[Document]":
        """The documents of one split, in an order that depends on the data alone.

        Raises:
          UserError: a package or file is missing, a file is broken (named, with the line), the
            split has no text, or there is no such split.
        """
        raise NotImplementedError

    def validation_documents(self, config: "Config") -> "list[Document]":
        """See `DataConfig.validation_documents`."""
        del config
        return self.load("validation")

    def open(
        self,
        config: "Config",
        tokenizer_cache: str | os.PathLike[str],
        tokenizer: "Tokenizer | None" = None,
    ) -> "Dataset":
        """See `DataConfig.open`."""
        from mmrec_jax.data.text_dataset import TextDataset
        from mmrec_jax.turkish.suffix_weights import SuffixWeights

        weight = config.turkish.suffix_weight
        weigh = SuffixWeights(weight) if weight != 1 else None
        return TextDataset.from_documents(
            config,
            {"": self.load("train")},
            self.load("validation"),
            tokenizer_cache,
            tokenizer,
            weigh,
        )


@dataclasses.dataclass(frozen=True)
class TreebankConfig(_Documents):
    """The built-in Turkish text."""

    source = "treebank"

    def load(self, split: "Split") -> "list[Document]":
        """See the base; the splits are fixed."""
        from mmrec_jax.data.split import fixed_split
        from mmrec_jax.data.treebank import treebank_documents

        return [each for each in treebank_documents() if fixed_split(each.name) == split]


@dataclasses.dataclass(frozen=True)
class ManualConfig(_Documents):
    """The built-in English text."""

    source = "manual"

    def load(self, split: "Split") -> "list[Document]":
        """See the base; the splits are fixed."""
        from mmrec_jax.data.manual import manual_documents
        from mmrec_jax.data.split import fixed_split

        return [each for each in manual_documents() if fixed_split(each.name) == split]


@dataclasses.dataclass(frozen=True)
class TextConfig(TextFilesConfig, _Documents):
    """Your files of text or records, held in memory."""

    source = "text"

    def load(self, split: "Split") -> "list[Document]":
        """See the base."""
        from mmrec_jax.data.sources import load_files

        return load_files(self, split, "text", self.documents)


@dataclasses.dataclass(frozen=True)
class JsonlConfig(RecordsConfig, _Documents):
    """Your files of JSON lines, whatever they are called, held in memory."""

    source = "jsonl"

    def load(self, split: "Split") -> "list[Document]":
        """See the base."""
        from mmrec_jax.data.sources import load_files

        return load_files(self, split, "json")


@dataclasses.dataclass(frozen=True)
class PreparedConfig(PackedConfig):
    """Folders that `mmrec data prepare` wrote, with their own tokenizer."""

    source = "prepared"

    train: str = setting("", "the folders, separated by commas")
    weights: tuple[float, ...] | tuple[tuple[int, tuple[float, ...]], ...] = setting((), _WEIGHTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(bool(self.train), "train", "a folder that mmrec data prepare wrote")

    @property
    def mixture(self) -> "Mixture | None":
        """See the base."""
        from mmrec_jax.data.mixture import as_mixture

        return as_mixture(self.weights)

    def check(self, config: "Config") -> None:
        """See `DataConfig.check`."""
        super().check(config)
        _require_no_suffix_weight(self, config)

    def validation_documents(self, config: "Config") -> "list[Document]":
        """See `DataConfig.validation_documents`."""
        from mmrec_jax.data.prepared.prepared_dataset import validation_documents

        return validation_documents(config)

    def open(
        self,
        config: "Config",
        tokenizer_cache: str | os.PathLike[str],
        tokenizer: "Tokenizer | None" = None,
    ) -> "Dataset":
        """See `DataConfig.open`."""
        from mmrec_jax.data.prepared.prepared_dataset import open_prepared

        return open_prepared(config, tokenizer)


def _require_no_suffix_weight(data: DataConfig, config: "Config") -> None:
    expected = f'1 with config.data.source "{data.source}"'
    config.turkish.require(config.turkish.suffix_weight == 1, "suffix_weight", expected)
