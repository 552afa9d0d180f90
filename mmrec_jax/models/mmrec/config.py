"""The part of the config that describes the model."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal, Self

from mmrec_jax.models.family_config import ExtendableConfig
from mmrec_jax.settings import above, at_least, setting, within

if TYPE_CHECKING:
    from mmrec_jax.models.mmrec.family import MMRec

# Tokens that one CPU device processes at once, over all its rows; and the bounds of a chunk, since
# shorter ones cost more steps than they save.
_CHUNK_TOKENS = 1024
_SHORTEST, _LONGEST = 64, 512
# Tokens x D that a GPU processes at once: 16,384 tokens at base. What a step needs beside its
# arguments is then 3 GiB, and its kernels are longer than their launches.
_CHUNK_NUMBERS = 2**24


@dataclasses.dataclass(frozen=True)
class MMRecConfig(ExtendableConfig):
    """The model's shape and switches (sizes: `sizes.py`).

    A field that is None is derived, as its comment says; the property named by its capital
    letter (`D`, `E`, `S`, ...) is its value.
    """

    family = "mmrec"
    memory_fields = (("remat", "full"), ("time_chunk", None))

    model_dim: int = setting(128, "D, the width", at_least(1))
    num_layers: int = setting(4, "L, blocks", at_least(1))
    num_memories: int = setting(4, "H, long-term memories of a block", at_least(1))
    context: int = setting(
        1024, "tokens the size is meant for; rows of data may be shorter", at_least(1), role="start"
    )
    recurrent_dim: int | None = setting(None, "E; D when None", at_least(1))
    memory_slots: int | None = setting(None, "S; D // H when None", at_least(1))
    mem_dim: int | None = setting(None, "K; D // H when None", at_least(1))
    ffn_dim: int | None = setting(
        None,
        "F; when None 11 D / 3 rounded up to a multiple of 64, or 8 D / 3 with addresses=tokens, "
        "whose other matrices are larger by as much, and with memory=none",
        at_least(1),
    )
    dpg_rank: int | None = setting(None, "R; max(16, D // 16) when None", at_least(1))
    gate: Literal["state", "input", "none"] = setting(
        "state", "what the short-term gate depends on"
    )
    gate_init_scale: float = setting(0.0, "standard deviation of w_g at the start", role="start")
    memory: Literal["delta", "decay", "none"] = setting("delta", "rule of the long-term memory")
    addresses: Literal["states", "tokens"] = setting(
        "states",
        "what the long-term memory is addressed by: states: a token is written under the state "
        "before it and asked for by the state now, through one matrix, so that what followed a "
        "state like this one is found; tokens: by keys and queries of the token and the state "
        "after it, each of its own",
        absent="tokens",
    )
    use_hem: bool = setting(True, "one fused input projection instead of one matrix each")
    use_dpg: bool = setting(True, "decay depends on the input; off: one learned decay per channel")
    gamma_halflife_min: float = setting(
        2.0, "tokens; half-lives are log-uniform over the channels", above(0), role="start"
    )
    gamma_halflife_max: float = setting(512.0, "tokens", role="start")
    alpha_halflife_min: float = setting(
        16.0, "tokens; log-uniform over the memories", above(0), role="start"
    )
    alpha_halflife_max: float = setting(4096.0, "tokens", role="start")
    dropout: float = setting(0.0, "share of the activations", within(0, 1, "[)"), role="run")
    dtype: Literal["float32", "bfloat16", "float64"] = setting(
        "float32", "of activations and matrix products; float64 needs JAX_ENABLE_X64=1"
    )
    param_dtype: Literal["float32", "bfloat16", "float64"] = setting(
        "float32", "of the parameters", role="start"
    )
    remat: Literal["none", "dots", "full"] = setting(
        "full",
        "what the backward pass recomputes instead of keeping it: dots, all but matrix products; "
        "full, each block from its input: the least memory, and the fastest on a CPU, where what "
        "fits in the cache is cheaper to compute again than to fetch",
        free=True,
        role="run",
    )
    time_chunk: int | None = setting(
        None,
        "tokens of a row that a block reads at once; longer rows are read in chunks, the state "
        "carried on with its gradient, so that temporary memory does not grow with the row; None: "
        "512, in training on CPUs fewer where a device has many rows, on GPUs more where it has "
        "few",
        at_least(1),
        role="run",
    )
    scan: Literal["auto", "sequential", "parallel"] = setting(
        "auto",
        "how the short-term memory is solved over time; parallel: Newton's method for the state "
        "gate, an associative scan for the other two; auto: by a kernel on TPUs and NVIDIA cards "
        "(kernels.py), else for the state gate sequential on a CPU and parallel elsewhere, for the "
        "other two the fastest in scan_table.csv",
        free=True,
        role="run",
    )
    chunk: int = setting(
        32, "C, tokens per chunk of the long-term memory's scan", at_least(1), role="run"
    )
    newton_passes: int | None = setting(
        16,
        "passes of scan=parallel for the state gate before a row is stepped through after all; "
        "None: as many as there are chunks",
        at_least(1),
        free=True,
        role="run",
        absent=None,
    )
    head_norm_epsilon: float = setting(
        1e-2,
        "of the RMSNorm of a read r = beta (q k) v, the first of a document: where q k is near 0 "
        "its gradient is beta |v| / sqrt(epsilon)",
        above(0),
        absent=1e-6,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if None in (self.memory_slots, self.mem_dim):
            self.require(
                self.model_dim % self.num_memories == 0,
                "num_memories",
                f"a divisor of model.model_dim = {self.model_dim} "
                "(or set both memory_slots and mem_dim)",
            )
        for name in ("gamma", "alpha"):
            low, high = (getattr(self, f"{name}_halflife_{end}") for end in ("min", "max"))
            self.require(low <= high, f"{name}_halflife_min", f"in (0, {high}] (the maximum)")

    def resolved(self) -> dict[str, Any]:
        """The derived sizes, by the fields that may be None."""
        derived = {"recurrent_dim": self.E, "memory_slots": self.S, "mem_dim": self.K}
        return derived | {"ffn_dim": self.F, "dpg_rank": self.R}

    def build(self) -> "MMRec":
        """The model."""
        from mmrec_jax.models.mmrec.family import MMRec

        return MMRec(self)

    def fitted(self, rows: int, platform: str) -> Self:
        """With `time_chunk` set for training, where it is None.

        `rows` are those of a microbatch on each device. What a core works on at once should stay in
        its cache: with 8 rows of 256 tokens on each of two cores a step of the tiny model takes a
        fifth less processor time in chunks of 128 than whole. A GPU should rather be full: at base
        and T = 4,096 chunks of 512 launch six times as many kernels. What a TPU works on at once
        should fit into its VMEM.
        """
        if self.time_chunk is not None or platform == "tpu":
            return self
        if platform == "cpu":
            chunk = min(max(_CHUNK_TOKENS // rows, _SHORTEST), _LONGEST)
        else:
            chunk = max(_CHUNK_NUMBERS // (self.D * rows), _LONGEST)
        return dataclasses.replace(self, time_chunk=chunk)

    def row_block(self, length: int) -> int:
        """See `FamilyConfig.row_block`."""
        chunks = -(-length // self.chunk_length)
        return -(-length // chunks)

    @property
    def state_dtype(self) -> str:
        """Of states, decays, gates and logits: float32 at least."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def chunk_length(self) -> int:
        """Tokens of a row that a block processes at once, at most."""
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
        thirds = 11 if self.H and self.addresses == "states" else 8
        return self.ffn_dim or 64 * math.ceil(thirds * self.model_dim / 3 / 64)

    @property
    def R(self) -> int:
        """Rank of the dynamic decay."""
        return self.dpg_rank or max(16, self.model_dim // 16)
