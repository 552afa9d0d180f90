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

    def metrics(self) -> dict[str, float]:
        """See `StreamBatches.metrics`."""
        return self.batches.metrics()

    def close(self) -> None:
        """Ends the workers."""
        self.batches.close()
