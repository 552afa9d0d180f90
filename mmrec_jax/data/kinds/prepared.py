"""The kind of data that is text prepared before the run."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mmrec_jax.data.kinds.text import WeightedConfig
from mmrec_jax.settings import setting

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.data.document import Document
    from mmrec_jax.tokenizers.tokenizer import Tokenizer


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
