"""A stream of batches that can be watched and ended."""

from typing import Any

from mmrec_jax.data.stream.stream_batches import StreamBatches
from mmrec_jax.data.train_iterator import TrainIterator


class StreamIterator(TrainIterator):
    """The `TrainIterator` of `StreamBatches`."""

    def __init__(self, stream: StreamBatches, identity: dict[str, Any]) -> None:
        """See `TrainIterator`."""
        super().__init__(stream, identity)
        self.batches = stream

    def start(self) -> None:
        """See `TrainIterator.start`."""
        self.batches.start()

    def warnings(self) -> list[str]:
        """See `TrainIterator.warnings`."""
        return self.batches.warnings()

    def close(self) -> None:
        """See `TrainIterator.close`."""
        self.batches.close()
