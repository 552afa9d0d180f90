"""The fields of the adapters: `config.adapters`."""

import dataclasses
import itertools
import re
from typing import Literal

from mmrec_jax.config_check import require


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What is trained of a model that `config.init_from` names, instead of all its parameters."""

    # "dora" (arXiv 2402.09353), "lora" (arXiv 2106.09685), "rslora" (arXiv 2312.03732); "none":
    # every parameter is trained.
    kind: Literal["none", "lora", "rslora", "dora"] = "none"
    rank: int = 8
    alpha: float = 16.0  # the scale of A B is alpha / rank; rslora: alpha / sqrt(rank)
    # Which kernels: "all-linear", or a regular expression that is searched in paths such as
    # blocks/ffn/down/kernel. Embedding, norms, decays and vectors are never taken.
    pattern: str = "all-linear"
    dropout: float = 0.0  # on the adapters' input; needs path "intercept"
    # Rows of the embedding, new tokens say, that are trained beside: "500-511,600".
    embedding_rows: str = ""
    detach_norm: bool = True  # dora: its norm is a constant to gradients (section 4.3)
    # "apply" forms the adapted weights in each step; "intercept" adds x A B to x W instead: less
    # memory and time.
    path: Literal["apply", "intercept"] = "intercept"

    def __post_init__(self) -> None:
        require(self.rank > 0, "adapters.rank", self.rank, "at least 1")
        require(self.alpha > 0, "adapters.alpha", self.alpha, "above 0")
        require(0 <= self.dropout < 1, "adapters.dropout", self.dropout, "in [0, 1)")
        require(
            not self.dropout or self.path == "intercept",
            "adapters.dropout",
            self.dropout,
            'zero with adapters.path "apply", where there is no input to drop from',
        )
        try:
            re.compile(self.pattern)
        except re.error as error:
            expected = f'"all-linear" or a regular expression ({error})'
            require(False, "adapters.pattern", self.pattern, expected)
        require(
            bool(re.fullmatch(r"(\d+(-\d+)?(,\d+(-\d+)?)*)?", self.embedding_rows))
            and all(first <= last for first, last in self.row_ranges),
            "adapters.embedding_rows",
            self.embedding_rows,
            'rows such as "500-511,600"',
        )
        rows = sorted(self.row_ranges)
        require(
            all(before[1] < after[0] for before, after in itertools.pairwise(rows)),
            "adapters.embedding_rows",
            self.embedding_rows,
            "rows that are each named once",
        )
        for name, off in (("dropout", 0.0), ("embedding_rows", "")):
            value = getattr(self, name)
            require(
                self.used or value == off,
                f"adapters.{name}",
                value,
                f'{off!r} with adapters.kind "none", which trains every parameter',
            )

    @property
    def used(self) -> bool:
        """Whether a part of the model is trained and the rest is frozen."""
        return self.kind != "none"

    @property
    def row_ranges(self) -> tuple[tuple[int, int], ...]:
        """The first and the last row of each range of `embedding_rows`."""
        ranges = [part.split("-") for part in self.embedding_rows.split(",") if part]
        return tuple((int(part[0]), int(part[-1])) for part in ranges)
