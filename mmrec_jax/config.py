"""A run: groups of settings with one default each, and all of them together in `Config`.

A config file (`configs/*.py`) returns a `Config`; `config_file.py` reads it with overrides from
the command line, `config_tree.py` turns it into plain values and back. `mmrec config` prints every
field.
"""

import dataclasses
import importlib
import itertools
import os
import re
import sys
from collections.abc import Iterable
from typing import Any, Literal

from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.errors import UserError
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.objectives.config import WEIGHT, Objectives, Weight, highest_weight
from mmrec_jax.objectives.registry import OBJECTIVES
from mmrec_jax.settings import SEED, Check, Settings, above, at_least, setting, union, within
from mmrec_jax.stages import StageConfig, staged

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
    dropout: float = setting(
        0.0, "on the adapters' input; path intercept alone", within(0, 1, "[)")
    )
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
    path: Literal["apply", "intercept"] = setting(
        "intercept",
        "apply: form the adapted weights; intercept: add x A B to x W, which is cheaper",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            not self.dropout or self.path == "intercept",
            "dropout",
            'zero with adapters.path "apply", where there is no input to drop from',
        )
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
        formed = self.path == "apply" and self.base_dtype in ("int8", "nf4")
        expected = (
            f'"intercept" with adapters.base_dtype "{self.base_dtype}", of one layer at a time'
        )
        self.require(not formed, "path", expected)
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


# Of each optimizer: b1, b2, eps, gamma. Muon's b1 is that of its momentum, its b2 that of the Adam
# which updates what is no matrix; 0 stands where an optimizer has no such number.
_OPTIM_DEFAULTS = {
    "adamw": (0.9, 0.95, 1e-8, 0.0),
    "sophia_g": (0.965, 0.99, 1e-12, 0.05),
    "sophia_h": (0.965, 0.99, 1e-12, 0.01),
    "lion": (0.9, 0.99, 0.0, 0.0),
    "muon": (0.95, 0.95, 1e-8, 0.0),
}


@dataclasses.dataclass(frozen=True)
class OptimConfig(Settings):
    """The optimizer and its schedule.

    "sophia_g" and "sophia_h" divide by an estimate of the loss's curvature (arXiv 2305.14342):
    g samples the Gauss-Newton diagonal from gradients, h the Hessian's from Hessian-vector
    products. A field that is None has the default of the optimizer `name`; the number it comes to
    is the property with the same name in capitals (`B1`, `B2`, `EPS`, `GAMMA`).
    """

    group = "optim"

    name: Literal["adamw", "sophia_g", "sophia_h", "lion", "muon"] = setting(
        "adamw", "lion wants a third to a tenth of adamw's learning rate, the others the same"
    )
    lr: float = setting(3e-3, "peak learning rate", above(0))
    schedule: Literal["cosine", "linear", "constant"] = setting("cosine", "of the learning rate")
    warmup_steps: int = setting(50, "steps in which the learning rate rises", at_least(0))
    final_lr_fraction: float = setting(0.1, "the schedule's floor as a share of lr", within(0, 1))
    b1: float | None = setting(
        None, "decay of the momentum: 0.9; sophia 0.965, muon 0.95", within(0, 1, "[)")
    )
    b2: float | None = setting(
        None, "decay of the second moment: 0.95; lion and sophia's h 0.99", within(0, 1, "[)")
    )
    eps: float | None = setting(
        None, "1e-8; sophia 1e-12, the least divisor of its momentum", above(0)
    )
    gamma: float | None = setting(
        None, "sophia: larger clips fewer coordinates; g 0.05, h 0.01", above(0)
    )
    moment_dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "of what the optimizer remembers of each parameter"
    )
    weight_decay: float = setting(
        0.1, "decoupled; never on norms, biases, decays and gates", at_least(0)
    )
    clip_norm: float = setting(1.0, "of the global gradient norm; 0: no clipping", at_least(0))
    hessian_every: int = setting(
        10, "k: sophia estimates the curvature in steps 1, 1 + k, 1 + 2 k, ...", at_least(1)
    )
    estimator_batch: float = setting(
        0.5,
        "share of a batch's rows for that estimate: every n-th row, with n the largest divisor of "
        "train.batch_size up to 1 / estimator_batch",
        within(0, 1, "(]"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(
            self.warmup_steps > 0 or not self.uses_hessian,
            "warmup_steps",
            f'at least 1 with "{self.name}": until its curvature has been averaged over some '
            "estimates, every coordinate moves by the whole learning rate",
        )

    @property
    def uses_hessian(self) -> bool:
        """Whether the optimizer needs estimates of the curvature."""
        return self.name in ("sophia_g", "sophia_h")

    @property
    def B1(self) -> float:
        """Decay of the momentum."""
        return _OPTIM_DEFAULTS[self.name][0] if self.b1 is None else self.b1

    @property
    def B2(self) -> float:
        """Decay of the second moment, or of the curvature."""
        return _OPTIM_DEFAULTS[self.name][1] if self.b2 is None else self.b2

    @property
    def EPS(self) -> float:
        """What keeps the division finite."""
        return _OPTIM_DEFAULTS[self.name][2] if self.eps is None else self.eps

    @property
    def GAMMA(self) -> float:
        """Factor of the curvature in Sophia's divisor."""
        return _OPTIM_DEFAULTS[self.name][3] if self.gamma is None else self.gamma


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
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none of them"
            raise UserError(
                f"config.train.steps/epochs/tokens: {found} is set; it must be exactly one of the "
                "three"
            )
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
