"""A run: groups of settings with one default each, and all of them together in `Config`.

A config file (`configs/*.py`) returns a `Config`; `config_file.py` reads it with overrides from
the command line, `config_tree.py` turns it into plain values and back. `mmrec config` prints every
field.
"""

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any, Literal

from mmrec_jax.adapter_config import AdapterConfig, ExtendConfig
from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.errors import UserError
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.objectives.config import WEIGHT, Objectives, Weight, highest_weight
from mmrec_jax.objectives.registry import OBJECTIVES
from mmrec_jax.optim.config import OptimConfig
from mmrec_jax.settings import SEED, Check, Settings, above, at_least, setting, union
from mmrec_jax.stages import StageConfig, staged


@dataclasses.dataclass(frozen=True)
class TokenizerConfig(Settings):
    """How text becomes tokens."""

    group = "tokenizer"

    kind: Literal["unigram", "bpe", "byte_bpe", "byte", "char", "file"] = setting(
        "unigram",
        "unigram and bpe: of sentencepiece; byte_bpe: a tokenizer.json; file: of `path`",
    )
    vocab_size: int | None = setting(
        None, "of unigram, bpe and byte_bpe; model.vocab_size when None", at_least(1)
    )
    path: str = setting("", "a sentencepiece .model or a Hugging Face tokenizer.json")
    begin: str = setting("", "of a file: token before a text; empty: what the file says")
    end: str = setting("", "of a file: token after a text; empty: what the file says")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            bool(self.path) == (self.kind == "file"),
            "path",
            'set if and only if tokenizer.kind is "file"',
        )
        for field in ("begin", "end"):
            chosen = getattr(self, field)
            self.require(not chosen or self.kind == "file", field, 'used with kind "file" alone')


_AXIS = Check(
    lambda size: size == -1 or size >= 1, "at least 1, or -1 for all devices that are left"
)


@dataclasses.dataclass(frozen=True)
class MeshConfig(Settings):
    """Over how many devices what is split. A run may continue on another mesh."""

    group = "mesh"

    data: int = setting(-1, "rows of the batch; -1: all devices that are left", _AXIS, free=True)
    fsdp: int = setting(1, "rows of the batch, parameters and optimizer state", _AXIS, free=True)
    tensor: int = setting(1, "the width of each layer", _AXIS, free=True)
    sequence: int = setting(
        1, "the tokens of each row, in training: for rows too long for one device", _AXIS, free=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("data", "fsdp", "tensor", "sequence")
        rest = [name for name in names if getattr(self, name) == -1]
        if len(rest) > 1:
            self.require(False, rest[1], f"at least 1: mesh.{rest[0]} is -1 already")


@dataclasses.dataclass(frozen=True)
class NoiseConfig(Settings):
    """Noise on the embedded tokens in training (NEFTune, arXiv 2310.05914)."""

    group = "noise"

    alpha: float = setting(0.0, "its size: 5 to 15; 0: none", at_least(0))
    schedule: Literal["constant", "linear"] = setting("constant", "linear: to 0 at the end")
    table: str = setting(
        "", 'a JSON file with factors of the noise by token, such as {"▁lar": 0.3}; others have 1'
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, off in (("schedule", "constant"), ("table", "")):
            unused = bool(self.alpha) or getattr(self, name) == off
            self.require(unused, name, f'"{off}" where noise.alpha is 0')


@dataclasses.dataclass(frozen=True)
class TrainConfig(Settings):
    """How long and how large, and what is written on the way."""

    group = "train"

    seed: int = setting(0, "of the parameters and of dropout", SEED)
    batch_size: int = setting(8, "rows in a step, over all devices and microbatches", at_least(1))
    accumulate: int = setting(
        1, "microbatches in a step; the gradient is that of the whole batch", at_least(1)
    )
    carry_state: bool = setting(
        False,
        "truncated backpropagation through time: each row continues the text of the same row of "
        "the batch before, from the state it left, through which no gradient flows",
    )
    state_passing: Weight = setting(
        0.0,
        "share of the rows that begin from a state which other text left behind, for a model that "
        "reads on beyond the length of its rows: a number, or (step, share) points, linear in "
        "between (train/state_passing.py)",
        Check(
            lambda share: WEIGHT.holds(share) and highest_weight(share) <= 1,
            "in [0, 1], or points such as [(0,0.0),(900,0.0),(901,0.5)], steps ascending",
        ),
    )
    steps: int | None = setting(
        None, "exactly one of steps, epochs, tokens says how long", above(0), free="length"
    )
    epochs: float | None = setting(None, "passes over the data", above(0), free="length")
    tokens: int | None = setting(
        None, "predicted tokens, padding not counted", above(0), free="length"
    )
    target_loss: float | None = setting(
        None, "stop when the evaluation loss (nats/token) is at or under it", free=True
    )
    target_bits_per_byte: float | None = setting(
        None,
        "the same in bits per byte of the validation text, which any tokenizer's may be held to",
        above(0),
        free=True,
    )
    devices: int | None = setting(
        None, "use the first n; all when None, of a CPU one per core", at_least(1), free=True
    )
    log_every: int = setting(10, "steps", at_least(1), free=True)
    writers: tuple[str, ...] = setting(
        ("jsonl", "tensorboard"),
        "where the metrics go: jsonl (metrics.jsonl, which loss.png is drawn from), tensorboard "
        "(event files), console; wandb and trackio, each an extra of the same name to install",
        free=True,
    )
    eval_every: int = setting(200, "steps", at_least(1), free=True)
    eval_first: bool = setting(False, "evaluate before the first step too", free=True)
    eval_batches: int | None = setting(
        None, "of the validation split; all of it when None", at_least(1), free=True
    )
    eval_carry: bool = setting(
        False,
        "evaluate with the state carried along each document, not each row from the zero state",
        free=True,
    )
    evaluators: tuple[str, ...] = setting(
        (), "what each evaluation measures besides: names that plugins register", free=True
    )
    dashboard: bool = setting(True, "measure the memories at each evaluation", free=True)
    sample_prompt: str = setting(
        "", "prompt of the text samples written at each evaluation", free=True
    )
    sample_tokens: int = setting(64, "0: no samples", at_least(0), free=True)
    checkpoint_every: int = setting(200, "steps", at_least(1), free=True)
    keep_last: int = setting(2, "checkpoints", at_least(1), free=True)
    keep_best: int = setting(1, "checkpoints, by validation loss", at_least(0), free=True)
    profile_steps: int = setting(
        0, "trace this many steps (after compilation) into workdir/profile", at_least(0), free=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_one_of(*LENGTHS)
        self.require(
            self.batch_size % self.accumulate == 0,
            "accumulate",
            f"a divisor of train.batch_size = {self.batch_size}",
        )
        expected = "0 with train.carry_state, where every row goes on from its own state"
        self.require(not self.carry_state or not self.passes_states, "state_passing", expected)
        for name in ("target_loss", "eval_batches"):
            reason = "a run has one target" if name == "target_loss" else "of the whole split"
            both = self.target_bits_per_byte is not None and getattr(self, name) is not None
            self.require(not both, name, f"None with train.target_bits_per_byte: {reason}")

    @property
    def microbatch_rows(self) -> int:
        """Rows over all devices that are computed at once."""
        return self.batch_size // self.accumulate

    @property
    def passes_states(self) -> bool:
        """Whether rows ever begin from the states of other rows."""
        return highest_weight(self.state_passing) > 0


LENGTHS = ("steps", "epochs", "tokens")


@dataclasses.dataclass(frozen=True)
class TurkishConfig(Settings):
    """What training and evaluation know of the language; off by default."""

    group = "turkish"

    suffix_weight: float = setting(
        1.0,
        "weight in the loss of a token behind the root of a word (turkish/segmenter.py), where "
        "every other token has 1; evaluation has no weights",
        above(0),
    )
    scored_samples: int = setting(
        0,
        "beginnings of validation documents that are continued at each evaluation and scored "
        "against the documents (turkish/scores.py)",
        at_least(0),
        free=True,
    )


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """One run."""

    plugins: tuple[str, ...] = setting(
        (),
        "modules that register model families, objectives, kinds of data or evaluators",
        free=True,
    )
    init_from: str = setting(
        "",
        "a run or an exported model whose parameters and tokenizer this run begins with; what "
        "function `model` is, is taken from there, and `tokenizer` is not used",
        free="base",
    )
    model: Any = union(FAMILIES, "mmrec", "the model")
    adapters: AdapterConfig = AdapterConfig()
    extend: ExtendConfig = ExtendConfig()
    objectives: Objectives = dataclasses.field(
        default_factory=Objectives, metadata={"registry": OBJECTIVES}
    )
    data: Any = union(DATA_KINDS, "treebank", "what it is trained and evaluated on")
    tokenizer: TokenizerConfig = TokenizerConfig()
    optim: OptimConfig = OptimConfig()
    mesh: MeshConfig = MeshConfig()
    noise: NoiseConfig = NoiseConfig()
    train: TrainConfig = TrainConfig(steps=1000)
    turkish: TurkishConfig = TurkishConfig()
    stages: tuple[StageConfig, ...] = setting(
        (),
        "what changes on the way, each from a beginning on, such as [{'step': 500, 'seq_len': "
        "1024, 'batch_size': 2}]: step, tokens or epochs, and any of seq_len, batch_size, "
        "accumulate, lr_factor, objectives, data_weights, target_loss",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        import_plugins(self.plugins)
        self.require(bool(self.objectives), "objectives", "at least one objective")
        self.require(
            bool(self.init_from) or not self.adapters.used,
            "init_from",
            f'the run to adapt, with adapters.kind "{self.adapters.kind}"',
        )
        self.extend.require(
            bool(self.init_from) or not self.extend.tokenizer,
            "tokenizer",
            "empty without config.init_from, the model to extend",
        )
        if self.adapters.used and self.optim.name == "muon":
            self.optim.require(
                False, "name", "another one with adapters: muon is for whole matrices"
            )
        staged(self)


def import_plugins(modules: Iterable[str]) -> None:
    """Imports modules, which register what they define; the current folder is searched too.

    Raises:
      UserError: one cannot be imported.
    """
    for module in modules:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever the user's module raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"config.plugins: {module}: {reason}") from error
