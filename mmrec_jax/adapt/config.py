"""What `mmrec adapt` is told: a base, text, and how long each stage trains."""

import dataclasses
import math
from typing import Any, Literal

from mmrec_jax.config import AdapterConfig, MeshConfig, NoiseConfig, OptimConfig
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.settings import SEED, Settings, above, at_least, setting, union, within

_SOME = at_least(0)


@dataclasses.dataclass(frozen=True)
class BaseConfig(Settings):
    """The base that is trained on the built-in English manual, where `config.base` is empty."""

    group = "pretrain"

    vocab_size: int = setting(2048, "of its byte-level BPE", at_least(257))
    steps: int = setting(400, "of training", at_least(1))
    lr: float = setting(3e-3, "peak learning rate of AdamW", above(0))
    batch_size: int = setting(8, "rows", at_least(1))
    seq_len: int = setting(256, "tokens in a row", at_least(2))


@dataclasses.dataclass(frozen=True)
class ExtensionConfig(Settings):
    """The tokens that are added to the base's tokenizer: see `mmrec tokenizer extend`."""

    group = "extension"

    vocab_size: int = setting(
        40_000, "new tokens in all; 0: the tokenizer stays as it is", at_least(0)
    )
    superwords: int = setting(10_000, "how many of them reach across spaces", at_least(0))
    method: Literal["mean", "average"] = setting(
        "mean", "first rows: as of `extend.method` of a run"
    )
    multiple: int = setting(128, "of which the rows in all are one", at_least(1))


@dataclasses.dataclass(frozen=True)
class StageLength(Settings):
    """How a stage trains; it begins with fresh moments and a warm-up of its own."""

    epochs: float = setting(1.0, "passes over the new language's text", above(0))
    tokens: int | None = setting(
        None, "instead of epochs: tokens, those of English text included", above(0)
    )
    lr_factor: float = setting(1.0, "times optim.lr", above(0))
    seq_len: int = setting(256, "tokens in a row", at_least(2))
    batch_size: int = setting(4, "rows in a step", at_least(1))
    accumulate: int = setting(1, "microbatches in a step", at_least(1))
    eval_every: int = setting(200, "steps; a checkpoint is written then, too", at_least(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        divides = self.batch_size % self.accumulate == 0
        self.require(divides, "accumulate", f"a divisor of batch_size = {self.batch_size}")


@dataclasses.dataclass(frozen=True)
class AlignConfig(StageLength):
    """The rows of the new tokens alone are trained, on short rows."""

    group = "align"
    epochs: float = setting(0.3, "passes over the new language's text; 0: no such stage", _SOME)
    lr_factor: float = setting(3.0, "times optim.lr", above(0))
    seq_len: int = setting(128, "tokens in a row", at_least(2))


@dataclasses.dataclass(frozen=True)
class FirstConfig(StageLength):
    """Adapters and new rows, first stage."""

    group = "first"
    epochs: float = setting(3.0, "passes over the new language's text", above(0))


@dataclasses.dataclass(frozen=True)
class SecondConfig(StageLength):
    """Adapters and new rows, second stage."""

    group = "second"
    epochs: float = setting(4.0, "passes over the new language's text", above(0))
    lr_factor: float = setting(0.7, "times optim.lr", above(0))


@dataclasses.dataclass(frozen=True)
class ThirdConfig(StageLength):
    """Adapters and new rows, third stage."""

    group = "third"
    epochs: float = setting(3.0, "passes over the new language's text", above(0))
    lr_factor: float = setting(0.5, "times optim.lr", above(0))


@dataclasses.dataclass(frozen=True)
class InstructConfig(StageLength):
    """Prompts and responses, with the loss on the responses; `config.noise` is of this stage."""

    group = "instruct"
    epochs: float = setting(1.0, "passes over prompts and responses; 0: no such stage", _SOME)
    lr_factor: float = setting(0.5, "times optim.lr", above(0))


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is measured before and after."""

    group = "evaluation"

    samples: int = setting(10, "held-out documents that are continued side by side", at_least(0))
    sample_tokens: int = setting(48, "by the base's tokenizer; as much text by others", at_least(1))
    seq_len: int = setting(256, "tokens in a row", at_least(2))
    batch_size: int = setting(4, "rows side by side", at_least(1))


@dataclasses.dataclass(frozen=True)
class AdaptConfig(Settings):
    """A base model, the text of a language, and the stages between them."""

    group = "adapt"

    base: str = setting(
        "",
        "a run, an exported model, a Hugging Face folder or Hub id, a GGUF file; empty: a small "
        "`model` that is trained on the built-in English manual first (`pretrain`)",
    )
    text: str = setting(
        "", "Turkish: comma-separated paths, globs, hf:NAME:split; empty: the built-in treebank"
    )
    english: str = setting(
        "", "the same, replayed so that it is not forgotten; empty: the built-in manual"
    )
    instructions: str = setting(
        "", "records of prompts and responses; empty: the built-in ones of the treebank"
    )
    documents: Literal["block", "line", "file"] = setting(
        "block", "of text files: one per block between blank lines, per line, or per file"
    )
    field: str = setting("text", "of a record with the text")
    validation_fraction: float = setting(0.05, "of the documents, held out", within(0, 1, "()"))
    check_language: bool = setting(True, "refuse text that is not Turkish by its letters")
    english_share: float = setting(0.1, "of the bytes that are trained on", within(0, 1, "[)"))
    target_bits_per_byte: float | None = setting(
        None, "a stage of training ends at this value of the held-out text, or before", above(0)
    )
    control: bool = setting(
        True, "train the base without new tokens as well, on equal bytes, to compare with"
    )
    seed: int = setting(0, "of everything that is drawn", SEED)
    devices: int | None = setting(None, "use the first n; None: all", at_least(1))
    target: str = setting(
        "", "where --dry-run plans the memory: as of mmrec plan; empty: on this machine"
    )
    model: Any = union(FAMILIES, "transformer", "the base to train, or to plan with")
    pretrain: BaseConfig = BaseConfig()
    extension: ExtensionConfig = ExtensionConfig()
    adapters: AdapterConfig = dataclasses.field(
        default_factory=lambda: AdapterConfig(kind="dora", rank=16)
    )
    optim: OptimConfig = dataclasses.field(
        default_factory=lambda: OptimConfig(lr=1e-3, warmup_steps=20)
    )
    noise: NoiseConfig = dataclasses.field(default_factory=lambda: NoiseConfig(alpha=5.0))
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    align: AlignConfig = AlignConfig()
    first: FirstConfig = FirstConfig()
    second: SecondConfig = SecondConfig()
    third: ThirdConfig = ThirdConfig()
    instruct: InstructConfig = InstructConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        adapters, extension = self.adapters, self.extension
        adapters.require(adapters.used, "kind", "an adapter, or whole")
        adapters.require(not adapters.init_from, "init_from", "empty: stages follow each other")
        known = extension.superwords <= extension.vocab_size
        expected = f"at most config.extension.vocab_size = {extension.vocab_size}"
        extension.require(known, "superwords", expected)

    @property
    def aligns(self) -> bool:
        """Whether the rows of new tokens are trained alone first."""
        return self.extends and bool(self.align.tokens or self.align.epochs)

    @property
    def instructs(self) -> bool:
        """Whether there is a stage of prompts and responses."""
        return bool(self.instruct.tokens or self.instruct.epochs)

    @property
    def extends(self) -> bool:
        """Whether the tokenizer gets new tokens."""
        return self.extension.vocab_size > 0

    @property
    def rows(self) -> int:
        """The most devices that every stage's rows divide over."""
        stages = self.align, self.first, self.second, self.third, self.instruct
        rows = [each.batch_size // each.accumulate for each in stages]
        return math.gcd(*rows, self.evaluation.batch_size)
