"""A stream of training batches that knows its place and which data the place belongs to."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from mmrec_jax.data.batch import Batch
from mmrec_jax.errors import UserError

_PIPELINE = "data.pipeline"  # in the identity of what `pipeline.py` makes


def process_rows(batch_size: int, process_index: int, process_count: int) -> range:
    """The rows of a batch that one of `process_count` processes reads.

    Raises:
      UserError: the rows do not divide evenly.
    """
    if batch_size % process_count:
        raise UserError(
            f"config.train.batch_size is {batch_size}; it must be a multiple of the number of "
            f"processes, {process_count}"
        )
    rows = batch_size // process_count
    return range(process_index * rows, (process_index + 1) * rows)


def joined_state(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `TrainIterator.get_state` of a whole run, from which any number of processes continues.

    Args:
      states: one of each process. They are the same, except that each has the positions of its own
        shards where the stream has shards.
    """
    whole = dict(states[0])
    if "shards" in whole["position"]:
        parts = [state["position"]["shards"] for state in states]
        whole["position"] = {"shards": {shard: own[shard] for own in parts for shard in own}}
    return whole


class BatchStream(Protocol):
    """Batches without end, whose position can be read and set."""

    def __next__(self) -> Batch:
        """The next batch."""

    def get_state(self) -> dict[str, Any]:
        """The position, fit for JSON."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `get_state` gave."""

    def metrics(self) -> dict[str, float]:
        """What a log says of the input."""


class TrainIterator(Iterator[Batch]):
    """A `BatchStream` that refuses the position of another one."""

    def __init__(self, stream: BatchStream, identity: dict[str, Any]) -> None:
        """`identity`: names and values of all that the batches depend on, fit for JSON."""
        self._stream = stream
        self._identity = identity

    def __next__(self) -> Batch:
        return next(self._stream)

    def get_state(self) -> dict[str, Any]:
        """The position, fit for JSON: what `set_state` needs to continue with the next batch."""
        return {"identity": dict(self._identity), "position": self._stream.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from `state` exactly as the iterator it was taken from would have.

        Raises:
          UserError: the state was saved for other data, other settings of the data, or by a version
            that read it in another order; the message names what differs.
        """
        saved = state["identity"]
        differing = [
            f"{name} (saved {saved.get(name)}, now {value})"
            for name, value in self._identity.items()
            if saved.get(name) != value
        ]
        if _PIPELINE in self._identity and _PIPELINE not in saved:
            differing = ["an earlier version saved it, which read the data in another order"]
        if differing:
            raise UserError(
                "the saved position in the training data belongs to other data: "
                f"{'; '.join(differing)}; start again with --fresh, or from the saved parameters "
                "with --config.init_from=FOLDER in a new workdir"
            )
        self._stream.set_state(state["position"])

    def start(self) -> None:
        """Starts what works in the background, if anything does."""

    def metrics(self) -> dict[str, float]:
        """See `BatchStream.metrics`."""
        return self._stream.metrics()

    def warnings(self) -> list[str]:
        """What was left out of the data since the last call, one line each."""
        return []

    def close(self) -> None:
        """Ends what works in the background; there is no batch after it."""
