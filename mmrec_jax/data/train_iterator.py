"""A stream of training batches that knows its place and which data the place belongs to."""

import abc
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mmrec_jax.data.batch import Batch
from mmrec_jax.errors import UserError


def joined_state(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `TrainIterator.get_state` of a whole run, from which any number of processes continues.

    Those of the processes are the same, but for the positions of their shards where there are some.
    """
    whole = dict(states[0])
    if "shards" in whole["position"]:
        parts = [state["position"]["shards"] for state in states]
        whole["position"] = {"shards": {shard: own[shard] for own in parts for shard in own}}
    return whole


def joined_progress(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The `TrainIterator.progress` of a whole run, the mean of those of its processes."""
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


class TrainIterator(Iterator[Batch]):
    """Batches without end, whose position can be read and set.

    A subclass makes the batches, and keeps the position as something fit for JSON.
    """

    def __init__(self, identity: dict[str, Any]) -> None:
        """`identity`: names and values of all that the batches depend on."""
        # As it will be when it was saved, with lists for tuples.
        self._identity = json.loads(json.dumps(identity))

    @abc.abstractmethod
    def _get_position(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    def _set_position(self, position: dict[str, Any]) -> None: ...

    def get_state(self) -> dict[str, Any]:
        """The position, fit for JSON: what `set_state` needs to continue with the next batch."""
        return {"identity": dict(self._identity), "position": self._get_position()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues from `state` exactly as the iterator it was taken from would have.

        Raises:
          UserError: the state was saved for other data or other settings of the data; the message
            names what differs.
        """
        saved = state["identity"]
        differing = [
            f"{name} (saved {saved.get(name)}, now {value})"
            for name, value in self._identity.items()
            if saved.get(name) != value
        ]
        if differing:
            raise UserError(
                "the saved position in the training data belongs to other data: "
                f"{'; '.join(differing)}; start again with --fresh, or from the saved parameters "
                "with --config.init_from=FOLDER in a new workdir"
            )
        self._set_position(state["position"])

    def metrics(self) -> dict[str, float]:
        """What a log says of the input."""
        return {}

    def progress(self) -> dict[str, float]:
        """What has been read, fit for JSON: where batches of another shape go on."""
        return self.metrics()

    def start(self) -> None:
        """Starts what works in the background, if anything does."""

    def close(self) -> None:
        """Ends what works in the background; there is no batch after it."""
