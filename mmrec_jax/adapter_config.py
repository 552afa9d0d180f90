"""The parts of the config for a model that others trained: what of it changes, what it gains."""

import dataclasses
import itertools
import re
from typing import Literal

from mmrec_jax.settings import Settings, above, at_least, setting, within

_ROWS = re.compile(r"(\d+(-\d+)?(,\d+(-\d+)?)*)?")


@dataclasses.dataclass(frozen=True)
class AdapterConfig(Settings):
    """What is trained of the model that `config.init_from` names, instead of all its parameters.

    Kinds: "lora" (arXiv 2106.09685), "rslora" (2312.03732), "dora" (2402.09353), or "whole": no
    adapters, but what `train` and `embedding_rows` name and the rows of new tokens, alone.
    """

    group = "adapters"

    kind: Literal["none", "lora", "rslora", "dora", "whole"] = setting(
        "none", "none: all is trained"
    )
    init_from: str = setting(
        "",
        "a run on the same base: its adapters and rows are what this one begins with; adapters "
        "that it lacks begin anew",
    )
    rank: int = setting(8, "of the product A B", at_least(1))
    alpha: float = setting(16.0, "A B is scaled by alpha / rank; rslora: / sqrt(rank)", above(0))
    pattern: str = setting(
        "all-linear",
        "which kernels: all-linear, or a regular expression searched in paths such as "
        "blocks/ffn/down/kernel; embedding, norms, decays and vectors are never taken",
    )
    dropout: float = setting(0.0, "on the adapters' input", within(0, 1, "[)"))
    embedding_rows: str = setting(
        "", "rows of the embedding, and of the head's, to train as well, such as 500-511,600"
    )
    train: str = setting(
        "",
        "parameters to train as they are, beside the adapters: a regular expression searched in "
        "paths; the rows of new tokens are trained always",
    )
    train_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "of the rows and of what is trained as it is"
    )
    base_dtype: Literal["", "float32", "bfloat16", "int8", "nf4"] = setting(
        "",
        "of what is frozen, empty: as stored; int8 and nf4 (4 bits) are of kernels alone, which "
        "are dequantised where they are multiplied with, layer by layer",
    )
    embedding_dtype: Literal["", "int8"] = setting(
        "", "of the frozen rows of embedding and head; empty: as the other vectors"
    )
    detach_norm: bool = setting(True, "dora: no gradient through its norm (section 4.3)")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pattern", "train"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                self.require(False, name, f"a regular expression ({error})")
        well_formed = _ROWS.fullmatch(self.embedding_rows) is not None
        well_formed = well_formed and all(first <= last for first, last in self.row_ranges)
        self.require(well_formed, "embedding_rows", 'rows such as "500-511,600"')
        apart = all(a[1] < b[0] for a, b in itertools.pairwise(sorted(self.row_ranges)))
        self.require(apart, "embedding_rows", "rows that are each named once")
        texts = "init_from", "embedding_rows", "train", "base_dtype", "embedding_dtype"
        for name, off in (("dropout", 0.0), *((name, "") for name in texts)):
            self.require(
                self.used or getattr(self, name) == off,
                name,
                f'{off!r} with adapters.kind "none", which trains every parameter',
            )
        expected = '"" with adapters.embedding_rows, which are rows of its own dtype'
        self.require(
            not (self.embedding_dtype and self.embedding_rows), "embedding_dtype", expected
        )
        expected = '0.0 with adapters.kind "whole", which has no adapters'
        self.require(self.kind != "whole" or not self.dropout, "dropout", expected)

    @property
    def used(self) -> bool:
        """Whether a part of the model is trained and the rest is frozen."""
        return self.kind != "none"

    @property
    def row_ranges(self) -> tuple[tuple[int, int], ...]:
        """The first and the last row of each range of `embedding_rows`."""
        ranges = [part.split("-") for part in self.embedding_rows.split(",") if part]
        return tuple((int(part[0]), int(part[-1])) for part in ranges)


@dataclasses.dataclass(frozen=True)
class ExtendConfig(Settings):
    """More tokens for the model that `config.init_from` names, whose own are a tokenizer.json.

    Their rows are tables of their own, which are trained beside adapters or alone.
    """

    group = "extend"

    tokenizer: str = setting(
        "", "the folder or tokenizer.json that mmrec tokenizer extend made of the model's own"
    )
    method: Literal["mean", "average"] = setting(
        "mean",
        "first rows: mean of the rows of the old tokens that a new one is made of; average of all "
        "old tokens",
    )
    multiple: int = setting(128, "of which the rows in all are one", at_least(1))
