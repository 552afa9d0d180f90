"""Every knob of a run: frozen, validated dataclasses with one default each.

At the edge (`configs/*.py`, `train.py`) a run is an `ml_collections.ConfigDict`, so that any field
can be overridden on the command line. `config_tree.py` turns it into a `Config`; below that line
nothing reads a field that does not exist and nothing has a second default.
"""

import dataclasses
import math
from typing import Literal

from mmrec_jax.config_check import require
from mmrec_jax.optim_config import OptimConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model's shape and switches (sizes: `mmrec_jax/sizes.py`).

    A field that is None is derived, as the comment beside it says; read the resolved number from
    the property with the same name in capitals (`D`, `E`, `S`, ...).
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
    # elsewhere for the state gate, the fastest in nn/scan_table.csv for the other two.
    scan: Literal["auto", "sequential", "parallel"] = "auto"
    chunk: int = 32  # C, tokens per chunk of the long-term memory's scan

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "model_dim", "num_layers", "num_memories", "context", "chunk")
        for name in sizes:
            require(getattr(self, name) > 0, f"model.{name}", getattr(self, name), "at least 1")
        for name in (
            "recurrent_dim",
            "memory_slots",
            "mem_dim",
            "ffn_dim",
            "dpg_rank",
            "time_chunk",
        ):
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
        require(self.lambda_p >= 0, "model.lambda_p", self.lambda_p, "at least 0")
        for name in ("gamma", "alpha"):
            low = getattr(self, f"{name}_halflife_min")
            high = getattr(self, f"{name}_halflife_max")
            require(
                0 < low <= high, f"model.{name}_halflife_min", low, f"in (0, {high}] (the maximum)"
            )

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


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the text comes from and how it becomes rows of tokens."""

    # "treebank" (built-in, Turkish), "manual" (built-in, English), "text" or "jsonl" (your files);
    # or a synthetic task (`data/tasks`): "parity".
    source: Literal["treebank", "manual", "text", "jsonl", "parity"] = "treebank"
    train: str = ""  # files for text/jsonl: comma-separated paths or globs; .gz is read too
    validation: str = ""  # the same; empty: a share of the training documents is held out
    validation_fraction: float = 0.05  # used when `validation` is empty
    # "block": one document a blank-line block, "line": one a line, "file": one a file.
    documents: Literal["block", "line", "file"] = "block"
    field: str = "text"  # the field of a JSONL line that holds the text
    seq_len: int = 256  # T, tokens in a row
    packing_bins: int = 16  # rows filled at the same time (unless train.carry_state is set)
    seed: int = 0  # of the shuffle, or of a task's training examples
    task_min_length: int = 1  # tokens in a training example; lengths are uniform up to the maximum
    task_max_length: int = 40
    task_eval_lengths: tuple[int, ...] = (40, 256, 1024)  # each is scored on its own
    task_eval_sequences: int = 256  # sequences a length, the same ones in every run

    def __post_init__(self) -> None:
        require(self.seq_len > 0, "data.seq_len", self.seq_len, "at least 1")
        require(self.packing_bins > 0, "data.packing_bins", self.packing_bins, "at least 1")
        require(
            0 < self.validation_fraction < 1,
            "data.validation_fraction",
            self.validation_fraction,
            "in (0, 1)",
        )
        for name in ("task_min_length", "task_eval_sequences"):
            require(getattr(self, name) > 0, f"data.{name}", getattr(self, name), "at least 1")
        require(
            self.task_max_length >= self.task_min_length,
            "data.task_max_length",
            self.task_max_length,
            f"at least data.task_min_length = {self.task_min_length}",
        )
        lengths = self.task_eval_lengths
        require(
            bool(lengths) and min(lengths) > 0 and len(set(lengths)) == len(lengths),
            "data.task_eval_lengths",
            lengths,
            "different lengths of at least 1, such as 40,256",
        )
        if self.source in ("text", "jsonl"):
            require(bool(self.train), "data.train", self.train, "a path or glob of your files")
        else:
            for name in ("train", "validation"):
                require(
                    not getattr(self, name),
                    f"data.{name}",
                    getattr(self, name),
                    f'empty with the built-in source "{self.source}" (for your own files set '
                    "data.source=text or jsonl)",
                )


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes tokens."""

    kind: Literal["unigram", "bpe", "byte", "char", "file"] = "unigram"
    vocab_size: int | None = None  # of unigram and bpe; model.vocab_size when None
    path: str = ""  # kind "file": an existing sentencepiece .model or Hugging Face tokenizer.json

    def __post_init__(self) -> None:
        require(
            self.vocab_size is None or self.vocab_size > 0,
            "tokenizer.vocab_size",
            self.vocab_size,
            "at least 1, or None",
        )
        require(
            bool(self.path) == (self.kind == "file"),
            "tokenizer.path",
            self.path,
            'set if and only if tokenizer.kind is "file"',
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and how large, and what is written on the way."""

    seed: int = 0  # of the parameters and of dropout
    batch_size: int = 8  # rows a step, over all devices and micro-batches
    accumulate: int = 1  # micro-batches a step; the gradient is that of the whole batch
    # Truncated backpropagation through time: each row continues the text of the same row of the
    # batch before, from the state it left, through which no gradient flows.
    carry_state: bool = False
    steps: int | None = None  # exactly one of steps, epochs, tokens says how long
    epochs: float | None = None
    tokens: int | None = None  # predicted tokens, padding not counted
    target_loss: float | None = None  # stop when the evaluation loss (nats/token) is at or under it
    devices: int | None = None  # use the first n; all when None, of a CPU one a core
    log_every: int = 10
    eval_every: int = 200
    eval_batches: int | None = None  # of the validation split; all of it when None
    # Evaluate with the state carried along each document instead of each row from the zero state.
    eval_carry: bool = False
    sample_prompt: str = ""  # prompt of the text samples written at each evaluation
    sample_tokens: int = 64  # 0: no samples
    checkpoint_every: int = 200
    keep_last: int = 2
    keep_best: int = 1  # by validation loss
    profile_steps: int = 0  # trace this many steps (after compilation) into workdir/profile

    def __post_init__(self) -> None:
        lengths = [n for n in ("steps", "epochs", "tokens") if getattr(self, n) is not None]
        require(
            len(lengths) == 1,
            "train.steps/epochs/tokens",
            ", ".join(lengths) or "none of them",
            "exactly one of the three",
        )
        for name in lengths:
            require(getattr(self, name) > 0, f"train.{name}", getattr(self, name), "above 0")
        for name in ("batch_size", "accumulate", "log_every", "eval_every", "checkpoint_every"):
            require(getattr(self, name) > 0, f"train.{name}", getattr(self, name), "at least 1")
        for name in ("devices", "eval_batches"):
            value = getattr(self, name)
            require(value is None or value > 0, f"train.{name}", value, "at least 1, or None")
        for name in ("sample_tokens", "keep_best", "profile_steps"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "at least 0")
        require(self.keep_last > 0, "train.keep_last", self.keep_last, "at least 1")
        require(
            self.batch_size % self.accumulate == 0,
            "train.accumulate",
            self.accumulate,
            f"a divisor of train.batch_size = {self.batch_size}",
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """One run."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(steps=1000))
