"""The kinds of data that are running text."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.settings import at_least, setting, within

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.data.document import Document
    from mmrec_jax.data.split import Split
    from mmrec_jax.tokenizers.tokenizer import Tokenizer

_FILES = (
    "your files: comma-separated paths, globs, folders, hf:NAME:split, or tfds:NAME/CONFIG:split "
    "(a data set in $TFDS_DATA_DIR); each file is read as what it is, compressed or not"
)
_WEIGHTS = (
    "tokens from each part of `train`: (3, 1), or ((1, (3, 1)), (500, (1, 1))) with other weights "
    "from step 500 on; empty: every document once an epoch"
)

# (first step, weights of the sources, of which only the ratios count), ascending by the step
Stages = tuple[tuple[int, tuple[float, ...]], ...]


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

    weights: ClassVar[tuple[Any, ...]] = ()

    @property
    def stages(self) -> Stages:
        """How the sources are mixed; empty: every document once an epoch."""
        same = self.weights and not isinstance(self.weights[0], tuple)
        return ((1, self.weights),) if same else self.weights


@dataclasses.dataclass(frozen=True)
class WeightedConfig(PackedConfig):
    """Text of several sources, which may be mixed."""

    weights: tuple[float, ...] | Stages = setting((), _WEIGHTS)  # type: ignore[misc]

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = [step for step, _ in self.stages]
        ascend = steps == sorted(set(steps)) and steps[:1] in ([], [1])
        self.require(ascend, "weights", "stages that begin at step 1 and each after the one before")
        some = all(
            any(each) and all(0 <= weight < math.inf for weight in each) for _, each in self.stages
        )
        self.require(some, "weights", "weights of at least 0, and one above 0")

    def check_sources(self, count: int) -> None:
        """Refuses, with a `UserError`, weights of another number of sources."""
        each = all(len(weights) == count for _, weights in self.stages)
        self.require(each, "weights", f"a weight for each of the {count} parts of data.train")


@dataclasses.dataclass(frozen=True)
class FilesConfig(DataConfig):
    """The user's own files."""

    # Where the files are is free: what they hold must be the same when a run is resumed.
    train: str = setting("", _FILES, free=True)
    validation: str = setting(
        "", "the same; empty: a share of the training data is held out", free=True
    )
    validation_fraction: float = setting(
        0.05,
        "held out when `validation` is empty; 0: all is trained on, nothing is held out",
        within(0, 1, "[)"),
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
class _BuiltInConfig(PackedConfig):
    """Documents that come with the package, or with one that it needs."""

    def documents(self) -> "list[Document]":
        """All documents, sorted by name; a `UserError` where a package is missing."""
        raise NotImplementedError

    def load(self, split: "Split") -> "list[Document]":
        """The documents of a split, which are the same in every run; raises as `documents`."""
        from mmrec_jax.data.split import fixed_split

        return [each for each in self.documents() if fixed_split(each.name) == split]

    def validation_documents(self, config: "Config") -> "list[Document]":
        """See `DataConfig.validation_documents`."""
        del config
        return self.load("validation")

    def open(
        self, config: "Config", cache: Path, tokenizer: "Tokenizer | None" = None
    ) -> "Dataset":
        """See `DataConfig.open`."""
        train = {self.source: self.load("train")}
        return _open(config, train, self.load("validation"), cache, tokenizer)


@dataclasses.dataclass(frozen=True)
class TreebankConfig(_BuiltInConfig):
    """The built-in Turkish text."""

    source = "treebank"

    def documents(self) -> "list[Document]":
        """See the base."""
        from mmrec_jax.data.treebank import treebank_documents

        return treebank_documents()


@dataclasses.dataclass(frozen=True)
class ManualConfig(_BuiltInConfig):
    """The built-in English text."""

    source = "manual"

    def documents(self) -> "list[Document]":
        """See the base."""
        from mmrec_jax.data.manual import manual_documents

        return manual_documents()


@dataclasses.dataclass(frozen=True)
class TextConfig(FilesConfig, WeightedConfig):
    """Your files of text or records, of any size."""

    source = "text"

    documents: Literal["block", "line", "file"] = setting(
        "block", "of a text file: one per block between blank lines, per line, or per file"
    )
    field: str = setting(
        "text", "of a record (JSON, CSV, Parquet, ...) with the text; meta.text: one inside another"
    )
    memory_mb: int = setting(
        256,
        "MiB of text that are held in memory; more is prepared once, into the user's cache "
        "(compressed files count fourfold)",
        at_least(1),
    )

    def validation_documents(self, config: "Config") -> "list[Document]":
        """See `DataConfig.validation_documents`."""
        from mmrec_jax.data.sources import load_text

        text = load_text(self)
        documents = text.validation
        if documents is None:
            from mmrec_jax.data.prepare.large_text import held_out_documents

            documents = held_out_documents(config, text)
        expected = "above 0 for a validation split; or give some text with --data=FILE"
        self.require(bool(documents), "validation_fraction", expected)
        return list(documents)

    def open(
        self, config: "Config", cache: Path, tokenizer: "Tokenizer | None" = None
    ) -> "Dataset":
        """See `DataConfig.open`."""
        from mmrec_jax.data.sources import load_text

        text = load_text(self)
        if text.documents is not None:
            held_out = text.validation or ()
            return _open(config, text.documents, held_out, cache, tokenizer)
        from mmrec_jax.data.prepare.large_text import open_large

        expected = f"1 with more text than config.data.memory_mb = {self.memory_mb}"
        config.turkish.require(config.turkish.suffix_weight == 1, "suffix_weight", expected)
        return open_large(config, text, cache, tokenizer)


@dataclasses.dataclass(frozen=True)
class PreparedConfig(WeightedConfig):
    """Folders that `mmrec data prepare` wrote, with their own tokenizer."""

    source = "prepared"

    # As of `FilesConfig`: where they are is free, their tokens must be the same.
    train: str = setting("", "the folders, separated by commas", free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(bool(self.train), "train", "a folder that mmrec data prepare wrote")

    def check(self, config: "Config") -> None:
        """See `DataConfig.check`."""
        super().check(config)
        expected = f'1 with config.data.source "{self.source}"'
        config.turkish.require(config.turkish.suffix_weight == 1, "suffix_weight", expected)

    def validation_documents(self, config: "Config") -> "list[Document]":
        """See `DataConfig.validation_documents`."""
        from mmrec_jax.data.prepare.reading import prepared_validation

        return prepared_validation(config)

    def open(
        self, config: "Config", cache: Path, tokenizer: "Tokenizer | None" = None
    ) -> "Dataset":
        """See `DataConfig.open`."""
        from mmrec_jax.data.prepare.reading import open_prepared

        return open_prepared(config, tokenizer)


def _open(
    config: "Config",
    train: "Mapping[str, Sequence[Document]]",
    validation: "Sequence[Document]",
    cache: Path,
    tokenizer: "Tokenizer | None",
) -> "Dataset":
    from mmrec_jax.data.text_dataset import TextDataset
    from mmrec_jax.turkish.suffix_weights import SuffixWeights

    weight = config.turkish.suffix_weight
    weigh = SuffixWeights(weight) if weight != 1 else None
    return TextDataset.from_documents(config, train, validation, cache, tokenizer, weigh)
