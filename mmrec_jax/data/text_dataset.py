"""Documents as the data of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from mmrec_jax.config import Config
from mmrec_jax.data.batch import Batch
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.document import Document
from mmrec_jax.data.evaluation import longest_documents
from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.data.kinds.text import PackedConfig, WeightedConfig
from mmrec_jax.data.pipeline import Pipeline
from mmrec_jax.data.token_store import TokenStore, Weigh
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.tokenizers.cache import build_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class TextDataset(Dataset):
    """Training text of one or more sources, and a validation split."""

    config: PackedConfig
    tokenizer: Tokenizer
    train: tuple[TokenStore, ...]  # of each part of the text
    validation: TokenStore | None  # None where nothing is held out
    carry_state: bool = False
    remarks: str = ""  # what `describe` says beside the sizes

    @classmethod
    def from_documents(
        cls,
        config: Config,
        train: Mapping[str, Sequence[Document]],
        validation: Sequence[Document],
        cache: Path,
        tokenizer: Tokenizer | None = None,
        weigh: Weigh | None = None,
    ) -> "TextDataset":
        """Makes or finds the tokenizer and encodes both splits.

        Args:
          config: `data`, `tokenizer`, `model.vocab_size` and `train.carry_state` are used.
          train: the training documents of each source, by name.
          validation: the documents that are held out; there may be none.
          cache: where trained tokenizers are kept.
          tokenizer: one that is there already, to be used instead.
          weigh: the weights of the training split's tokens in the loss; None: all alike.

        Raises:
          UserError: the tokenizer cannot be made, it or `weigh` refuses a document, or a source is
            empty.
        """
        texts = (document.text for documents in train.values() for document in documents)
        tokenizer = tokenizer or build_tokenizer(config, texts, cache)
        stores = tuple(
            TokenStore.from_documents(documents, tokenizer, weigh, name=name)
            for name, documents in train.items()
        )
        held_out = TokenStore.from_documents(validation, tokenizer) if validation else None
        return cls(config.data, tokenizer, stores, held_out, config.train.carry_state)

    def with_config(self, config: DataConfig) -> Self:
        """See `Dataset.with_config`."""
        assert isinstance(config, PackedConfig)
        return dataclasses.replace(self, config=config)

    def batches(
        self,
        batch_size: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
        read: Mapping[str, float] | None = None,
    ) -> TrainIterator:
        """See `Dataset.batches`; `read` has epochs by name."""
        return self._pipeline(batch_size, read).iterator(process_index, process_count)

    def tokens_per_step(self, batch_size: int) -> float:
        """See `Dataset.tokens_per_step`."""
        return self._pipeline(batch_size).tokens_per_step

    @property
    def tokens_per_epoch(self) -> int:
        """See `Dataset.tokens_per_epoch`."""
        return sum(store.num_pairs for store in self.train)

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: of the validation split, or else of the training text."""
        stores = self.train if self.validation is None else (self.validation,)
        return longest_documents(stores, rows, length)

    def describe(self) -> str:
        """See `Dataset.describe`."""
        documents = sum(store.num_documents for store in self.train)
        size = sum(store.num_bytes for store in self.train)
        tokens = sum(store.num_pairs for store in self.train)
        lost = sum(store.unspelled_bytes for store in self.train) / size
        details = [f"{self.tokenizer.vocab_size:,} in the vocabulary"]
        if self.config.prompt_style == "text":  # of conversations the bytes are of responses alone
            details.insert(0, f"{size / tokens:.2f} bytes/token")
        if lost:
            details.append(f"{lost:.2%} of the bytes spelled by no token")
        remarks = ["nothing is held out: there is no validation loss"]
        if self.validation is not None:
            remarks = [f"{self.validation.num_documents:,} validation documents"]
        if self.remarks:
            remarks.append(self.remarks)
        return (
            f"{self.config.source}, {documents:,} training documents, {size:,} bytes, "
            f"{tokens:,} tokens ({', '.join(details)}); {'; '.join(remarks)}"
        )

    def _pipeline(self, batch_size: int, read: Mapping[str, float] | None = None) -> Pipeline:
        """What is mixed; without weights all sources are one."""
        groups = [self.train]
        if isinstance(self.config, WeightedConfig) and self.config.weights:
            self.config.check_sources(len(self.train))
            expected = "empty with config.train.carry_state, which reads document after document"
            self.config.require(not self.carry_state, "weights", expected)
            groups = [(store,) for store in self.train]
        return Pipeline(groups, self.config, batch_size, self.carry_state, read or {})
