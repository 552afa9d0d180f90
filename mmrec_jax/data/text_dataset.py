"""Documents as the data of a run."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from mmrec_jax.config import Config
from mmrec_jax.data.batch import Batch
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.document import Document
from mmrec_jax.data.kinds.text import PackedConfig
from mmrec_jax.data.longest import longest_documents
from mmrec_jax.data.pipeline import make_train_iterator, steps_for
from mmrec_jax.data.token_store import TokenStore, Weigh
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.tokenizers.cache import build_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class TextDataset(Dataset):
    """A training and a validation split of documents, as tokens."""

    config: PackedConfig
    tokenizer: Tokenizer
    train: TokenStore
    validation: TokenStore
    carry_state: bool = False

    @classmethod
    def from_documents(
        cls,
        config: Config,
        documents: Mapping[str, Sequence[Document]],
        tokenizer_cache: str | os.PathLike[str],
        tokenizer: Tokenizer | None = None,
        weigh: Weigh | None = None,
    ) -> "TextDataset":
        """Makes or finds the tokenizer and encodes both splits.

        Args:
          config: `data`, `tokenizer`, `model.vocab_size` and `train.carry_state` are used.
          documents: those of "train" and "validation".
          tokenizer_cache: where trained tokenizers are kept.
          tokenizer: one that is there already, to be used instead.
          weigh: the weights of the training split's tokens in the loss; None: all alike.

        Raises:
          UserError: the tokenizer cannot be made, or it or `weigh` refuses a document.
        """
        tokenizer = tokenizer or build_tokenizer(
            config.tokenizer,
            (document.text for document in documents["train"]),
            tokenizer_cache,
            default_vocab_size=config.model.vocab_size,
        )
        train = TokenStore.from_documents(documents["train"], tokenizer, weigh)
        validation = TokenStore.from_documents(documents["validation"], tokenizer)
        return cls(config.data, tokenizer, train, validation, config.train.carry_state)

    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
    ) -> TrainIterator:
        """See `Dataset.batches`."""
        return make_train_iterator(
            self.train,
            self.config,
            batch_size,
            carry_state=self.carry_state,
            process_index=process_index,
            process_count=process_count,
        )

    def steps_for(
        self, batch_size: int, *, epochs: float | None = None, tokens: int | None = None
    ) -> int:
        """See `Dataset.steps_for`."""
        return steps_for(
            self.train,
            self.config,
            batch_size,
            carry_state=self.carry_state,
            epochs=epochs,
            tokens=tokens,
        )

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: documents of the validation split."""
        return longest_documents(self.validation, rows, length)

    def describe(self) -> str:
        """See `Dataset.describe`."""
        train = self.train
        lost = train.unspelled_bytes / train.num_bytes
        unspelled = f", {lost:.2%} of the bytes spelled by no token" if lost else ""
        return (
            f"{self.config.source}, {train.num_documents:,} training documents, "
            f"{train.num_bytes:,} bytes, {train.num_pairs:,} tokens "
            f"({train.num_bytes / train.num_pairs:.2f} bytes/token, "
            f"{self.tokenizer.vocab_size:,} in the vocabulary{unspelled}); "
            f"{self.validation.num_documents:,} validation documents"
        )
