"""The part of the config that describes the model."""

import dataclasses
import math
from typing import Literal

from mmrec_jax.config_check import require


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model's shape and switches (sizes: `mmrec_jax/models/mmrec/sizes.py`).

    A field that is None is derived, as the comment beside it says; read the resolved number from
    the property with the same name in capitals (`D`, `E`, `S`, ...). `before` in the metadata of a
    field is its value in a stored config that lacks it (`config_tree.complete_stored`).
    """

    vocab_size: int = 5000  # upper bound; the tokenizer's size when that is smaller
    model_dim: int = 128  # D
    num_layers: int = 4  # L
    num_memories: int = 4  # H
    context: int = 1024  # tokens the size is meant for; rows of data may be shorter
    recurrent_dim: int | None = None  # E; D when None
    memory_slots: int | None = None  # S; D // H when None
    mem_dim: int | None = None  # K; D // H when None
    ffn_dim: int | None = None  # F; 8 D / 3 rounded up to a multiple of 64 when None
    dpg_rank: int | None = None  # R; max(16, D // 16) when None
    gate: Literal["state", "input", "none"] = "state"
    gate_init_scale: float = 0.0  # standard deviation of w_g at the start
    memory: Literal["delta", "decay", "none"] = "delta"
    use_hem: bool = True  # one fused input projection instead of one matrix each
    use_dpg: bool = True  # decay depends on the input; off: one learned decay a channel
    use_uboo: bool = False  # auxiliary prediction of the next short-term state
    lambda_p: float = 0.1  # weight of the UBOO loss in the total
    uboo_isolate: bool = False  # True: a pure probe, no gradient into the trunk
    uboo_orthogonal: bool = False  # True: remove its component along the main gradient
    gamma_halflife_min: float = 2.0  # tokens; half-lives are log-uniform over the channels
    gamma_halflife_max: float = 512.0
    alpha_halflife_min: float = 16.0  # tokens; log-uniform over the memories
    alpha_halflife_max: float = 4096.0
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"  # of activations and matrix products
    param_dtype: Literal["float32", "bfloat16"] = "float32"
    # What the backward pass recomputes instead of keeping it: "none"; "dots", everything but matrix
    # products; "full", each block from its input: the least memory, and the fastest on a CPU,
    # where what fits in the cache is cheaper to compute again than to fetch.
    remat: Literal["none", "dots", "full"] = "full"
    # Tokens of a row that a block reads at once. Longer rows are read in such pieces, the state
    # carried on with its gradient, so that temporary memory does not grow with the row. None: 512;
    # a run on CPUs takes fewer where a device has many rows (train/time_pieces.py).
    time_chunk: int | None = None
    # How the short-term memory is solved over time: "parallel" is Newton's method for the state
    # gate and an associative scan for the other two. "auto": sequential on a CPU and parallel
    # elsewhere for the state gate, the fastest in models/mmrec/scan_table.csv for the other two.
    scan: Literal["auto", "sequential", "parallel"] = "auto"
    chunk: int = 32  # C, tokens per chunk of the long-term memory's scan
    # Passes that "parallel" may take for the state gate before a row is stepped through after all
    # (`newton.py`); None: as many as there are chunks.
    newton_passes: int | None = dataclasses.field(default=16, metadata={"before": None})
    # Of the RMSNorm of a read r = beta (q k) v, the first of a document: where q k is near 0, its
    # gradient is beta |v| / sqrt(epsilon).
    head_norm_epsilon: float = dataclasses.field(default=1e-2, metadata={"before": 1e-6})

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "model_dim", "num_layers", "num_memories", "context", "chunk")
        for name in sizes:
            require(getattr(self, name) > 0, f"model.{name}", getattr(self, name), "at least 1")
        optional = ("recurrent_dim", "memory_slots", "mem_dim", "ffn_dim", "dpg_rank", "time_chunk")
        for name in (*optional, "newton_passes"):
            value = getattr(self, name)
            require(value is None or value > 0, f"model.{name}", value, "at least 1, or None")
        if None in (self.memory_slots, self.mem_dim):
            require(
                self.model_dim % self.num_memories == 0,
                "model.num_memories",
                self.num_memories,
                f"a divisor of model.model_dim = {self.model_dim} "
                "(or set both memory_slots and mem_dim)",
            )
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "in [0, 1)")
        epsilon = self.head_norm_epsilon
        require(epsilon > 0, "model.head_norm_epsilon", epsilon, "greater than 0")
        require(self.lambda_p >= 0, "model.lambda_p", self.lambda_p, "at least 0")
        for name in ("gamma", "alpha"):
            low = getattr(self, f"{name}_halflife_min")
            high = getattr(self, f"{name}_halflife_max")
            require(
                0 < low <= high, f"model.{name}_halflife_min", low, f"in (0, {high}] (the maximum)"
            )

    @property
    def tokens_at_once(self) -> int:
        """Tokens of a row that a block reads at once."""
        return self.time_chunk or 512

    @property
    def D(self) -> int:
        """Model width."""
        return self.model_dim

    @property
    def E(self) -> int:
        """Recurrent width."""
        return self.recurrent_dim or self.model_dim

    @property
    def H(self) -> int:
        """Long-term memories per layer; 0 when there are none."""
        return 0 if self.memory == "none" else self.num_memories

    @property
    def S(self) -> int:
        """Slots (key size) of a memory."""
        return self.memory_slots or self.model_dim // self.num_memories

    @property
    def K(self) -> int:
        """Value size of a memory."""
        return self.mem_dim or self.model_dim // self.num_memories

    @property
    def F(self) -> int:
        """Hidden width of the feed-forward layer."""
        return self.ffn_dim or 64 * math.ceil(8 * self.model_dim / 3 / 64)

    @property
    def R(self) -> int:
        """Rank of the dynamic decay."""
        return self.dpg_rank or max(16, self.model_dim // 16)
