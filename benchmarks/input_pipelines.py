"""Input pipelines that do the same work: ours, one of `datasets`, and one of plain grain.

Each reads JSON lines, shuffles, tokenises with the same tokenizer between begin and end tokens, and
cuts the tokens into batches {"inputs", "targets": int32 [B, T]} without end. Ours also checks each
record and keeps the position of each batch.
"""

import dataclasses
import json
import mmap
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.data.kinds.text import StreamConfig
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_BUFFER = 10_000  # documents in the shuffle buffer of `datasets`

Batches = Iterator[dict[str, NDArray[np.int32]]]


@dataclasses.dataclass(frozen=True)
class Work:
    """What a pipeline is to do; 0 workers: all in the process that asks."""

    files: Sequence[str]
    field: str
    tokenizer: str
    batch_size: int
    seq_len: int
    workers: int


def ours(work: Work) -> Batches:
    """`data.source="stream"`; none of its documents is held out, as the others hold out none."""
    with open(work.files[0], "rb") as file, tempfile.NamedTemporaryFile(suffix=".jsonl") as one:
        one.write(file.readline())
        one.flush()
        return _ours(work, one.name)


def _ours(work: Work, validation: str) -> Batches:
    data = StreamConfig(
        train=",".join(work.files),
        validation=validation,
        field=work.field,
        stream_workers=work.workers,
        seq_len=work.seq_len,
    )
    config = Config(data=data, train=TrainConfig(steps=1))
    dataset = StreamDataset.open(config, "", load_tokenizer(Path(work.tokenizer)))
    return dataset.batches(work.batch_size)


def hugging_face(work: Work) -> Batches:
    """`datasets`, streamed with a shuffle buffer; its workers are those of torch's DataLoader."""
    import datasets

    files = list(work.files)
    stream = datasets.load_dataset("json", data_files=files, split="train", streaming=True)
    stream = stream.shuffle(seed=0, buffer_size=_BUFFER)
    if not work.workers:
        return _end_to_end(work, stream)
    import torch

    class Rows(torch.utils.data.IterableDataset):
        """The share of a worker; `datasets` deals the files to them."""

        def __iter__(self) -> Batches:
            return _end_to_end(work, stream)

    loader = torch.utils.data.DataLoader(
        Rows(), batch_size=None, num_workers=work.workers, collate_fn=_as_it_is
    )
    return iter(loader)


def plain_grain(work: Work) -> Batches:
    """Plain grain, over an index of the lines that is built beforehand.

    Without workers alone: those of grain wait for ever where absl has not started the program.
    """
    assert not work.workers
    import grain
    from grain import experimental

    lines = grain.MapDataset.source(_Lines(work.files)).shuffle(seed=0).repeat()
    pairs = lines.map(_Pairs(work)).to_iter_dataset()
    lengths = {"inputs": work.seq_len, "targets": work.seq_len}
    rows = experimental.ConcatThenSplitIterDataset(pairs, length_struct=lengths)
    batches = rows.batch(work.batch_size)
    return iter(batches)


PIPELINES: dict[str, Callable[[Work], Batches]] = {
    "mmrec_jax": ours,
    "datasets": hugging_face,
    "grain": plain_grain,
}


def _as_it_is(batch: Any) -> Any:
    return batch


def _end_to_end(work: Work, documents: Any) -> Batches:
    tokenizer = load_tokenizer(Path(work.tokenizer))
    shape = work.batch_size, work.seq_len
    wanted = shape[0] * shape[1] + 1
    parts: list[NDArray[np.int32]] = []
    held = 0
    while True:
        for document in documents:
            parts.append(_encode(tokenizer, document[work.field]))
            held += len(parts[-1])
            if held < wanted:
                continue
            tokens = np.concatenate(parts)
            while len(tokens) >= wanted:
                inputs, targets = tokens[: wanted - 1], tokens[1:wanted]
                yield {"inputs": inputs.reshape(shape), "targets": targets.reshape(shape)}
                tokens = tokens[wanted - 1 :]
            parts, held = [tokens], len(tokens)


class _Lines:
    """Random access to the lines of some files."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = tuple(files)
        ends = []
        for number, file in enumerate(files):
            newlines = np.flatnonzero(np.memmap(file, np.uint8, "r") == ord("\n"))
            starts = np.concatenate([[0], newlines[:-1] + 1])
            ends.append(np.stack([np.full(len(newlines), number), starts, newlines], 1))
        self._ends = np.concatenate(ends)
        self._maps: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        number, start, end = (int(each) for each in self._ends[index])
        if number not in self._maps:
            with open(self._files[number], "rb") as file:
                self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[number][start:end]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_maps": {}}

    def __repr__(self) -> str:
        return f"Lines({len(self)})"


class _Pairs:
    """A line of JSON to inputs and targets."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tokenizer: Tokenizer | None = None

    def __call__(self, line: bytes) -> dict[str, NDArray[np.int32]]:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(Path(self._work.tokenizer))
        tokens = _encode(self._tokenizer, json.loads(line)[self._work.field])
        return {"inputs": tokens[:-1], "targets": tokens[1:]}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tokenizer": None}


def _encode(tokenizer: Tokenizer, text: str) -> NDArray[np.int32]:
    ends = np.array([tokenizer.bos_id, tokenizer.eos_id], np.int32)
    return np.concatenate([ends[:1], tokenizer.encode(text), ends[1:]])
