"""A run's task, to be scored at lengths of one's choice."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmrec_jax.config import Config


def scored_at(config: "Config", lengths: tuple[int, ...], sequences: int | None = None) -> "Config":
    """`config` with these lengths, and so many sequences of each (None: as many as before).

    Raises:
      UserError: a length makes no sense.
    """
    count = config.data.eval_sequences if sequences is None else sequences
    data = dataclasses.replace(config.data, eval_lengths=lengths, eval_sequences=count)
    return dataclasses.replace(config, data=data)
