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
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import Source, find_sources
from mmrec_jax.data.longest import longest_documents
from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.stream.blocks import Shuffle
from mmrec_jax.data.stream.budget import MEGABYTE, allow
from mmrec_jax.data.stream.layout import count_shards, hosted_shards
from mmrec_jax.data.stream.opening import read_opening, read_whole
from mmrec_jax.data.stream.plan import Admission, StreamPlan
from mmrec_jax.data.stream.stream_batches import StreamBatches
from mmrec_jax.data.stream.stream_iterator import StreamIterator
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.data.tokenizer_cache import build_tokenizer
from mmrec_jax.errors import UserError

_VALIDATION_BYTES = 64 * MEGABYTE


@dataclasses.dataclass(frozen=True)
class StreamDataset(Dataset):
    """Training text that is read as it is needed, and a validation split in memory."""

    config: Config
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
        data = config.data
        sources = _find(config, data.train, "config.data.train")
        mixture = Mixture.parse(data.weights or "1", len(sources))
        admission = Admission(0.0 if data.validation else data.validation_fraction)
        used = [source for index, source in enumerate(sources) if mixture.uses(index)]
        trains = tokenizer is None and config.tokenizer.kind not in ("byte", "file")
        wanted = data.tokenizer_mb * MEGABYTE if trains else 0
        refusals = Refusals(data.on_error)
        opening = read_opening(used, admission, wanted, refusals)
        if data.validation:
            named = _find(config, data.validation, "config.data.validation")
            held_out = read_whole(
                named, admission, "config.data.validation", _VALIDATION_BYTES, refusals
            )
        else:
            held_out = opening.held_out
        if not held_out:
            raise UserError(
                f"config.data.validation_fraction = {data.validation_fraction} holds out none of "
                "the documents; raise it or set config.data.validation"
            )
        tokenizer = tokenizer or build_tokenizer(
            config.tokenizer,
            opening.train,
            tokenizer_cache,
            default_vocab_size=config.model.vocab_size,
        )
        validation = TokenStore.from_documents(held_out, tokenizer)
        return cls(config, tokenizer, sources, mixture, admission, validation)

    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
    ) -> StreamIterator:
        """See `Dataset.batches`."""
        data, shards = self.config.data, count_shards(batch_size)
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
        allowance = allow(plan, len(hosted), wanted, data.ram_mb)
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
        return max(1, math.ceil(tokens / (batch_size * self.config.data.seq_len)))

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: documents of the validation split."""
        return longest_documents(self.validation, rows, length)

    def describe(self) -> str:
        """See `Dataset.describe`."""
        files = [file for source in self.sources for file in source.files]
        size = sum(file.size for file in files)
        mixed = f", weights {self.config.data.weights}" if self.config.data.weights else ""
        return (
            f"stream, {len(files):,} files of {size:,} bytes{mixed} "
            f"({self.tokenizer.vocab_size:,} in the vocabulary); "
            f"{self.validation.num_documents:,} validation documents"
        )

    def _identity(self, batch_size: int) -> dict[str, str | int | float]:
        """All that the batches depend on."""
        data = self.config.data
        return {
            "data.train": _digest(self.sources),
            "tokenizer": self.tokenizer.fingerprint[:16],
            "data.documents": data.documents,
            "data.field": data.field,
            "data.max_record_mb": data.max_record_mb,
            "data.weights": data.weights,
            "data.shuffle_mb": data.shuffle_mb,
            "data.validation_fraction": self.admission.held_out,
            "data.seq_len": data.seq_len,
            "data.seed": data.seed,
            "train.batch_size": batch_size,
        }


def _find(config: Config, pattern: str, option: str) -> tuple[Source, ...]:
    """The sources; one of all their files, where they are not weighed."""
    data = config.data
    largest = data.max_record_mb * MEGABYTE
    sources = find_sources(pattern, option, data.documents, data.field, largest)
    if data.weights and option == "config.data.train":
        return tuple(sources)
    files = {file.name: file for source in sources for file in source.files}
    return (Source(pattern, tuple(files.values())),)


def _digest(sources: Sequence[Source]) -> str:
    return hashlib.sha256(" ".join(each.identity for each in sources).encode()).hexdigest()[:16]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
