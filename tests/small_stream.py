"""What tests of the stream share: lines of text in small files, streams of them, and what they say.

The reading of a stream is checked against `expected_documents`, which knows the files and the rule
of the shards, and nothing of the code.
"""

import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np

from mmrec_jax.data.formats.source import Source, find_sources
from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.stream.blocks import Shuffle
from mmrec_jax.data.stream.budget import Allowance
from mmrec_jax.data.stream.layout import hosted_shards
from mmrec_jax.data.stream.plan import Admission, StreamPlan
from mmrec_jax.data.stream.stream_batches import StreamBatches
from mmrec_jax.tokenizers.byte import ByteTokenizer

CHUNK = 200  # bytes
BATCH, SHARDS, LENGTH = 8, 8, 16
TOKENIZER = ByteTokenizer()


def write_lines(folder: Path, counts: tuple[int, ...] = (30, 1, 17), tag: str = "") -> Path:
    """Files a.txt, b.txt, ... of so many lines of 10 to 60 bytes, some of more than a chunk."""
    choose = random.Random(len(counts))
    folder.mkdir(exist_ok=True)
    for file, count in enumerate(counts):
        lines = [
            f"{tag}{file}.{number} "
            + "ç" * choose.choice([2, 5, 20, 130 if number % 9 == 4 else 9])
            for number in range(count)
        ]
        (folder / f"{chr(97 + file)}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def sources(*folders: Path, pooled: bool = True) -> tuple[Source, ...]:
    """The files of some folders, a line a document, in chunks of `CHUNK` bytes."""
    pattern = ",".join(map(str, folders))
    found = find_sources(pattern, "--data", "line", "text", 2**16, chunk_bytes=CHUNK)
    if not pooled:
        return tuple(found)
    return (Source("all", tuple(file for source in found for file in source.files)),)


def stream(
    read: tuple[Source, ...],
    *,
    weights: str = "1",
    batch: int = BATCH,
    length: int = LENGTH,
    block: int = 2,
    block_bytes: int = 10**6,
    seed: int = 0,
    process: tuple[int, int] = (0, 1),
    workers: int = 0,
    on_error: str = "stop",
    megabytes: int = 500,
    admission: Admission | None = None,
) -> StreamBatches:
    """A stream of small rows; nothing is held out unless `admission` says so."""
    hosted = hosted_shards(batch, *process)
    shards = len(hosted) * process[1]
    plan = StreamPlan(
        read,
        Mixture.parse(weights, len(read)),
        admission or Admission(),
        Shuffle(seed, shards, block, block_bytes),
        batch // shards,
        length,
        on_error,
    )
    return StreamBatches(plan, TOKENIZER, hosted, Allowance(workers, 32, megabytes))


def shard_documents(batches, shards=SHARDS):
    """What each shard reads: its documents in their order, complete ones alone.

    Checks on the way that a document is read from its first token to its last by one lane, that
    the target is the next token, and that segments are numbered from 1 without a gap.
    """
    arrays = {name: np.concatenate([each[name] for each in batches], axis=1) for name in batches[0]}
    assert (arrays["weights"] == 1).all()
    lanes = len(arrays["inputs"]) // shards
    found = []
    for shard in range(shards):
        texts, unfinished, seen = {}, [], []
        for row in range(shard * lanes, (shard + 1) * lanes):
            inputs, targets, ids = (
                arrays[name][row] for name in ("inputs", "targets", "segment_ids")
            )
            edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
            for start, end in itertools.pairwise(edges):
                segment = int(ids[start])
                seen.append(segment)
                assert inputs[start] == TOKENIZER.bos_id
                np.testing.assert_array_equal(inputs[start + 1 : end], targets[start : end - 1])
                if targets[end - 1] == TOKENIZER.eos_id:
                    texts[segment] = bytes(inputs[start + 1 : end].tolist()).decode()
                else:
                    unfinished.append(segment)
                    assert end == len(ids)
        assert sorted(seen) == list(range(1, len(seen) + 1))
        complete = min(unfinished, default=len(seen) + 1)
        found.append([texts[segment] for segment in range(1, complete)])
    return found


def expected_documents(read: Source, shards: int = SHARDS) -> list[list[list[str]]]:
    """By epoch (V of them) and shard, the documents that it reads then, unordered."""
    dealt = [[[] for _ in range(shards)] for _ in range(shards)]
    for place, file in enumerate(read.files):
        offset = 0
        for line in Path(file.name).read_bytes().split(b"\n"):
            chunk = max(0, offset - 1) // CHUNK  # the newline before begins the record
            offset += len(line) + 1
            if line.strip():
                for epoch in range(shards):
                    dealt[epoch][(place + chunk + epoch) % shards].append(line.decode())
    return dealt


def assert_each_document_once_an_epoch(documents, read: Source, epochs: int):
    """The documents of all shards, cut into epochs, are those of the files, each once."""
    whole = Counter(text for shard in expected_documents(read)[0] for text in shard)
    taken = [0] * len(documents)
    for epoch in range(epochs):
        counted = Counter()
        for shard, texts in enumerate(expected_documents(read)[epoch % len(documents)]):
            read_now = documents[shard][taken[shard] : taken[shard] + len(texts)]
            assert sorted(read_now) == sorted(texts), (epoch, shard)
            taken[shard] += len(texts)
            counted.update(read_now)
        assert counted == whole
        assert set(counted.values()) == {1}
