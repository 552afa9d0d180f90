"""Every knob of a run: frozen, validated dataclasses with one default each.

At the edge (`configs/*.py`, `train.py`) a run is an `ml_collections.ConfigDict`, so that any field
can be overridden on the command line. `config_tree.py` turns it into a `Config`; below that line
nothing reads a field that does not exist and nothing has a second default.
"""

import dataclasses
from typing import Literal

from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.config_check import LARGEST_SEED, require
from mmrec_jax.instruction_config import InstructionConfig
from mmrec_jax.models.mmrec.config import ModelConfig
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.task_config import TaskConfig
from mmrec_jax.turkish_config import TurkishConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the text comes from and how it becomes rows of tokens."""

    # "treebank" (built-in, Turkish), "manual" (built-in, English), "text" or "jsonl" (your files,
    # held in memory), "stream" (your files, of any size, read as they are needed), "prepared"
    # (folders that `mmrec data prepare` wrote, with their own tokenizer);
    # prompts and responses: "instructions" (your files of JSON lines) or "treebank_instructions"
    # (built-in, Turkish); or a synthetic task (`data/tasks`): the other names.
    source: Literal[
        "treebank",
        "manual",
        "text",
        "jsonl",
        "stream",
        "prepared",
        "instructions",
        "treebank_instructions",
        "parity",
        "modular",
        "mqar",
        "induction",
        "k_hop",
        "needle",
    ] = "treebank"
    # Your files: comma-separated paths, globs, folders, "tfds:NAME/CONFIG:split" (a local data set)
    # or "hf:NAME:split"; .gz, .zst and .xz are read too.
    train: str = ""
    validation: str = ""  # the same; empty: a share of the training documents is held out
    validation_fraction: float = 0.05  # used when `validation` is empty
    # "block": one document a blank-line block, "line": one a line, "file": one a file.
    documents: Literal["block", "line", "file"] = "block"
    field: str = "text"  # the field of a record (JSON, Parquet, ...) that holds the text
    max_record_mb: int = 64  # MiB; a longer document or record is refused
    on_error: Literal["stop", "skip"] = "stop"  # "skip": leave bad records out, and list them
    tfds_dir: str = ""  # of "tfds:"; empty: $TFDS_DATA_DIR or ~/tensorflow_datasets
    seq_len: int = 256  # T, tokens in a row
    packing_windows: int = 1024  # pieces packed into rows together (without train.carry_state)
    seed: int = 0  # of the shuffle, or of a task's training examples
    # Of sources "stream" and "prepared": tokens from each part of `train`: "3,1", or
    # "3,1; 500: 1,1" with other weights from step 500 on; empty: every document once an epoch.
    weights: str = ""
    # Of source "stream":
    shuffle_mb: int = 64  # MiB of text of each source that are shuffled together
    tokenizer_mb: int = 32  # MiB of text that a tokenizer is trained on
    stream_workers: int | None = None  # processes that read; one a core, at most 8, when None
    # MiB that the workers and what they have ready may use together; nothing watches 0 workers.
    ram_mb: int = 1500
    # Of source "stream" too (`mmrec data prepare` has them as options, and always cleans): which
    # documents are trained and evaluated on. Characters between the white space at the ends count.
    clean: bool = False  # leave out control characters; carriage returns become newlines
    language: Literal["", "tr"] = ""  # documents in this language alone
    min_chars: int = 0  # leave out shorter documents
    max_chars: int | None = None  # leave out longer documents; None: none

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_files()
        if self.source != "stream":
            self._refuse_filters()

    def _check_numbers(self) -> None:
        require(self.seq_len > 0, "data.seq_len", self.seq_len, "at least 1")
        seeds = f"in 0 to {LARGEST_SEED}"
        require(0 <= self.seed <= LARGEST_SEED, "data.seed", self.seed, seeds)
        sizes = ("packing_windows", "max_record_mb", "shuffle_mb", "tokenizer_mb", "ram_mb")
        for name in sizes:
            require(getattr(self, name) > 0, f"data.{name}", getattr(self, name), "at least 1")
        workers = self.stream_workers
        require(
            workers is None or workers >= 0, "data.stream_workers", workers, "at least 0, or None"
        )
        require(
            0 < self.validation_fraction < 1,
            "data.validation_fraction",
            self.validation_fraction,
            "in (0, 1)",
        )
        require(self.min_chars >= 0, "data.min_chars", self.min_chars, "at least 0")
        least = max(1, self.min_chars)
        require(
            self.max_chars is None or self.max_chars >= least,
            "data.max_chars",
            self.max_chars,
            f"at least {least}" + (", data.min_chars" if self.min_chars else "") + ", or None",
        )

    def _check_files(self) -> None:
        require(
            not self.weights or self.source in ("stream", "prepared"),
            "data.weights",
            self.weights,
            f'empty with data.source "{self.source}"',
        )
        if self.source in ("text", "jsonl", "stream", "instructions"):
            require(bool(self.train), "data.train", self.train, "a path or glob of your files")
        elif self.source == "prepared":
            folder = "a folder that mmrec data prepare wrote"
            require(bool(self.train), "data.train", self.train, folder)
            rule = "empty with prepared text, which has a validation split of its own"
            require(not self.validation, "data.validation", self.validation, rule)
        else:
            for name in ("train", "validation"):
                require(
                    not getattr(self, name),
                    f"data.{name}",
                    getattr(self, name),
                    f'empty with the built-in source "{self.source}" (for your own files set '
                    "data.source=text, jsonl, stream, prepared or instructions)",
                )

    def _refuse_filters(self) -> None:
        who = 'only "stream" filters documents as it reads them'
        if self.source == "prepared":
            who = "mmrec data prepare has cleaned and filtered them"
        unset = {"clean": False, "language": "", "min_chars": 0, "max_chars": None}
        for name, value in unset.items():
            rule = f'{value!r} with data.source "{self.source}": {who}'
            require(getattr(self, name) == value, f"data.{name}", getattr(self, name), rule)


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
    # Where the metrics go: "jsonl" (metrics.jsonl, which loss.png is drawn from), "tensorboard"
    # (event files), "console"; "wandb" and "trackio", each an extra of the same name to install.
    writers: tuple[str, ...] = ("jsonl", "tensorboard")
    eval_every: int = 200
    eval_first: bool = False  # evaluate before the first step too
    eval_batches: int | None = None  # of the validation split; all of it when None
    # Evaluate with the state carried along each document instead of each row from the zero state.
    eval_carry: bool = False
    dashboard: bool = True  # measure the memories at each evaluation (`mmrec_jax/dashboard`)
    sample_prompt: str = ""  # prompt of the text samples written at each evaluation
    sample_tokens: int = 64  # 0: no samples
    checkpoint_every: int = 200
    keep_last: int = 2
    keep_best: int = 1  # by validation loss
    profile_steps: int = 0  # trace this many steps (after compilation) into workdir/profile
    neftune_alpha: float = 0.0  # noise on the embedded tokens (arXiv 2310.05914): 5 to 15; 0: none
    neftune_schedule: Literal["constant", "linear"] = "constant"  # linear: to 0 at the end
    # A JSON file with factors of the noise by token, such as {"▁lar": 0.3}; the others have 1.
    neftune_table: str = ""

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
        seeds = f"in 0 to {LARGEST_SEED}"
        require(0 <= self.seed <= LARGEST_SEED, "train.seed", self.seed, seeds)
        require(self.neftune_alpha >= 0, "train.neftune_alpha", self.neftune_alpha, "at least 0")
        for name, off in (("neftune_schedule", "constant"), ("neftune_table", "")):
            value = getattr(self, name)
            require(
                bool(self.neftune_alpha) or value == off,
                f"train.{name}",
                value,
                f'"{off}" where train.neftune_alpha is 0',
            )
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

    # A run, or an exported model, whose parameters and tokenizer this run begins with. The fields
    # of `model` that say what function it is are taken from there, and `tokenizer` is not used.
    init_from: str = ""
    adapters: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    instructions: InstructionConfig = dataclasses.field(default_factory=InstructionConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(steps=1000))
    turkish: TurkishConfig = dataclasses.field(default_factory=TurkishConfig)

    def __post_init__(self) -> None:
        require(
            bool(self.init_from) or not self.adapters.used,
            "init_from",
            self.init_from,
            f'the run to adapt, with adapters.kind "{self.adapters.kind}"',
        )
        require(
            self.optim.name != "muon" or not self.adapters.used,
            "optim.name",
            self.optim.name,
            "another one with adapters: muon is for whole weight matrices",
        )
