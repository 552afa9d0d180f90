"""What one step reads: rows of tokens, as a dict of arrays [B, T].

| key | dtype | content |
|---|---|---|
| `inputs` | int32 | tokens |
| `targets` | int32 | what the model should say after each input: in text, the token that follows |
| `segment_ids` | int32 | 0: padding; above 0 and equal: one segment, one recurrent history |
| `weights` | float32 | how much each target counts in the loss, at least 0; 0: not at all |

Every token of text has weight 1, unless the token store says otherwise; of a conversation those of
the responses alone; padding has weight 0. The loss of a batch is the sum of weight x nats over the
sum of the weights.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Batch = dict[str, NDArray[Any]]

DTYPES: dict[str, type[np.generic]] = {
    "inputs": np.int32,
    "targets": np.int32,
    "segment_ids": np.int32,
    "weights": np.float32,
}
