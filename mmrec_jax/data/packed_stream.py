"""Rows of packed windows, epoch after epoch."""

import dataclasses
import itertools
from typing import Any

import grain
import numpy as np

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.mixture import Mixture, next_source
from mmrec_jax.data.packing import pack, write_row
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import cut_windows


@dataclasses.dataclass
class _Position:
    """Where the group of windows begins that is being read, and how much of it was.

    Attributes:
      step: batches before this one.
      packed_at: the value of `step` when the group was packed.
      stage: the first step of the mixture's stage then.
      taken: windows of each source before the group.
      tokens: their predicted tokens, since the stage began.
      used: rows of the group.
    """

    step: int
    packed_at: int
    stage: int
    taken: list[int]
    tokens: list[int]
    used: int


class PackedStream:
    """Batches without end (`BatchStream`) of windows that each begin from the zero state.

    Every epoch of a source is a new permutation of its windows. Windows are taken in groups, each
    from the source that is farthest below its share; a group is packed into rows (`packing.pack`),
    and its rows are shuffled, since those that were begun last are the emptiest. A group keeps the
    weights of the step at which it is begun.

    Batches depend on the whole batch alone: each process packs the windows of all processes, which
    costs no reading, and reads the tokens of its own rows. So the place in the stream is the same
    for any number of processes.
    """

    def __init__(
        self,
        store: TokenStore,
        seq_len: int,
        batch_size: int,
        rows: range,
        group: int,
        seed: int,
        weights: str = "",
    ) -> None:
        """Starts at the first window of the first epoch.

        Args:
          store: the training split.
          seq_len: T.
          batch_size: rows of a batch, over all processes.
          rows: those of this process.
          group: windows that are packed together; of a smaller corpus, all of an epoch.
          seed: of the permutations.
          weights: of the store's sources (`Mixture.parse`); empty: they are one.

        Raises:
          UserError: `weights` is not what the sources need.
        """
        self._store = store
        self._seq_len = seq_len
        self._batch_size = batch_size
        self._rows = rows
        self._seed = seed
        self._windows = cut_windows(store, seq_len)
        self._group = min(group, len(self._windows))
        sources = store.sources if weights else (("", store.num_documents),)
        self._names, documents = [name for name, _ in sources], [count for _, count in sources]
        self._mixture = Mixture.parse(weights or "1", len(documents))
        borders = np.searchsorted(self._windows.documents, np.cumsum([0, *documents])).tolist()
        self._sources = [range(a, b) for a, b in itertools.pairwise(borders)]
        self._orders = [
            grain.MapDataset.range(source.start, source.stop)
            .shuffle(seed=_order_seed(seed, number))
            .repeat()
            for number, source in enumerate(self._sources)
        ]
        nothing = [0] * len(documents)
        self._place = _Position(0, 0, 1, nothing, nothing, 0)
        self._after: tuple[list[int], list[int]] | None = None  # taken and tokens behind the group
        self._packed: list[list[int]] = []

    def __next__(self) -> Batch:
        batch = empty_batch(len(self._rows), self._seq_len)
        for number in range(self._batch_size):
            windows = self._next_row()
            if number in self._rows:
                row = number - self._rows.start
                write_row(batch, row, self._store, self._windows, windows)
        self._place.step += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """See `BatchStream.get_state`."""
        return dataclasses.asdict(self._place)

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchStream.set_state`."""
        self._place, self._after = _Position(**state), None

    def metrics(self) -> dict[str, float]:
        """See `BatchStream.metrics`: epochs of each source, up to the group."""
        epochs = [
            taken / len(source)
            for taken, source in zip(self._place.taken, self._sources, strict=True)
        ]
        if len(epochs) == 1:
            return {"epochs": epochs[0]}
        return {f"epochs of {name}": each for name, each in zip(self._names, epochs, strict=True)}

    def _next_row(self) -> list[int]:
        if self._after is None:
            self._packed = self._pack_group()
        if self._place.used == len(self._packed):
            self._leave_group()
            self._packed = self._pack_group()
        self._place.used += 1
        return self._packed[self._place.used - 1]

    def _leave_group(self) -> None:
        assert self._after is not None
        (taken, tokens), step = self._after, self._place.step
        stage = self._mixture.stage(step + 1).first_step
        if stage != self._place.stage:
            tokens = [0] * len(tokens)
        self._place = _Position(step, step, stage, taken, tokens, 0)

    def _pack_group(self) -> list[list[int]]:
        place = self._place
        weights = self._mixture.stage(place.packed_at + 1).weights
        taken, tokens = list(place.taken), list(place.tokens)
        numbers = []
        for _ in range(self._group):
            source = next_source(weights, tokens) if len(tokens) > 1 else 0
            number = int(self._orders[source][taken[source]])
            taken[source] += 1
            tokens[source] += int(self._windows.lengths[number])
            numbers.append(number)
        self._after = taken, tokens
        rows = pack(self._windows.lengths[numbers], self._seq_len)
        rng = np.random.default_rng(hashed_seed("rows", self._seed, sum(place.taken)))
        return [[numbers[piece] for piece in rows[row]] for row in rng.permutation(len(rows))]


def _order_seed(seed: int, source: int) -> int:
    """A 32-bit seed. grain adds the epoch to it, so neighbouring seeds must not stay neighbours."""
    return hashed_seed("windows", seed, *([source] if source else [])) >> 32
