"""Files of any size as the data of a run."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Sequence

from mmrec_jax.config import Config
from mmrec_jax.data.batch import Batch
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.formats.chunk import CHUNK_BYTES
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.kinds.text import StreamConfig
from mmrec_jax.data.longest import longest_documents
from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.stream.blocks import Shuffle
from mmrec_jax.data.stream.budget import MEGABYTE, allow
from mmrec_jax.data.stream.layout import count_shards, hosted_shards
from mmrec_jax.data.stream.plan import Admission, StreamPlan
from mmrec_jax.data.stream.stream_batches import StreamBatches
from mmrec_jax.data.stream.stream_iterator import StreamIterator
from mmrec_jax.data.stream.stream_text import StreamText
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import build_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class StreamDataset(Dataset):
    """Training text that is read as it is needed, and a validation split in memory."""

    config: StreamConfig
    tokenizer: Tokenizer
    sources: tuple[Source, ...]
    mixture: Mixture
    admission: Admission
    validation: TokenStore

    @classmethod
    def open(
        cls,
        config: Config,
        tokenizer_cache: str | os.PathLike[str],
        tokenizer: Tokenizer | None = None,
    ) -> "StreamDataset":
        """Finds the files, reads their beginning, and makes or finds the tokenizer.

        Args:
          config: `data`, `tokenizer` and `model.vocab_size` are used.
          tokenizer_cache: where trained tokenizers are kept.
          tokenizer: one that is there already, to be used instead.

        Raises:
          UserError: a file is missing or broken, a source has no text, nothing can be held out, or
            the tokenizer cannot be made.
        """
        trains = tokenizer is None and config.tokenizer.kind not in ("byte", "file")
        text = StreamText.open(config.data, config.data.tokenizer_mb * MEGABYTE if trains else 0)
        tokenizer = tokenizer or build_tokenizer(
            config.tokenizer,
            text.opening,
            tokenizer_cache,
            default_vocab_size=config.model.vocab_size,
        )
        validation = TokenStore.from_documents(text.validation, tokenizer)
        return cls(config.data, tokenizer, text.sources, text.mixture, text.admission, validation)

    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
    ) -> StreamIterator:
        """See `Dataset.batches`."""
        data, shards = self.config, count_shards(batch_size)
        hosted = hosted_shards(batch_size, process_index, process_count)
        block_bytes = data.shuffle_mb * MEGABYTE // shards
        block = max(1, block_bytes // CHUNK_BYTES)
        plan = StreamPlan(
            self.sources,
            self.mixture,
            self.admission,
            Shuffle(data.seed, shards, block, block_bytes),
            batch_size // shards,
            data.seq_len,
            data.on_error,
        )
        wanted = _cores() if data.stream_workers is None else data.stream_workers
        allowance = allow(plan, len(hosted), wanted, data.ram_mb, len(self.tokenizer.content))
        stream = StreamBatches(plan, self.tokenizer, hosted, allowance)
        return StreamIterator(stream, self._identity(batch_size))

    def steps_for(
        self, batch_size: int, *, epochs: float | None = None, tokens: int | None = None
    ) -> int:
        """See `Dataset.steps_for`; how many tokens an epoch has is not known."""
        if tokens is None:
            raise UserError(
                f'config.train.epochs is {epochs}; with config.data.source "stream" the text is '
                "not counted before it is read: use train.steps or train.tokens"
            )
        return max(1, math.ceil(tokens / (batch_size * self.config.seq_len)))

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: documents of the validation split."""
        return longest_documents(self.validation, rows, length)

    def describe(self) -> str:
        """See `Dataset.describe`."""
        files = [file for source in self.sources for file in source.files]
        size = sum(file.size for file in files)
        mixed = f", weights {self.config.weights}" if self.config.weights else ""
        return (
            f"stream, {len(files):,} files of {size:,} bytes{mixed} "
            f"({self.tokenizer.vocab_size:,} in the vocabulary); "
            f"{self.validation.num_documents:,} validation documents"
        )

    def _identity(self, batch_size: int) -> dict[str, str | int | float]:
        """All that the batches depend on."""
        data = self.config
        return {
            "data.train": _digest(self.sources),
            "tokenizer": self.tokenizer.fingerprint[:16],
            "data.documents": data.documents,
            "data.field": data.field,
            "data.max_record_mb": data.max_record_mb,
            "data.weights": data.weights,
            "data.shuffle_mb": data.shuffle_mb,
            "data.validation_fraction": self.admission.held_out,
            "data.clean": self.admission.clean,
            "data.language": self.admission.filter.language,
            "data.min_chars": self.admission.filter.min_chars,
            "data.max_chars": self.admission.filter.max_chars,
            "data.seq_len": data.seq_len,
            "data.seed": data.seed,
            "train.batch_size": batch_size,
        }


def _digest(sources: Sequence[Source]) -> str:
    return hashlib.sha256(" ".join(each.identity for each in sources).encode()).hexdigest()[:16]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
