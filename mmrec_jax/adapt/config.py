"""What `mmrec adapt` is told: a base, text, and how long each stage trains."""

import dataclasses
from typing import Any, Literal

from mmrec_jax.adapter_config import AdapterConfig
from mmrec_jax.config import MeshConfig, NoiseConfig
from mmrec_jax.models.registry import FAMILIES
from mmrec_jax.optim.config import OptimConfig
from mmrec_jax.settings import SEED, Settings, above, at_least, setting, union, within

PRETRAINED, ALIGNED, INSTRUCTED = "pretrain", "align", "instruct"
TRAINING = "first", "second", "third"


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
class TrainingConfig(Settings):
    """How a stage trains; it begins with fresh moments and a warm-up of its own."""

    epochs: float = setting(1.0, "passes over its text; 0: no such stage", at_least(0))
    tokens: int | None = setting(
        None, "instead of epochs: tokens, those of English text included", above(0)
    )
    lr_factor: float = setting(1.0, "times optim.lr", above(0))
    seq_len: int = setting(256, "tokens in a row", at_least(2))
    batch_size: int = setting(4, "rows in a step", at_least(1))
    accumulate: int = setting(1, "microbatches in a step", at_least(1))
    eval_every: int = setting(200, "steps; a checkpoint is written then, too", at_least(1))

    def __post_init__(self) -> None:
        """Nothing: `AdaptConfig` checks each, whose messages then name the stage."""

    def named(self, name: str) -> "TrainingConfig":
        """The same, checked as the field `name` of an adaptation."""
        stage = dataclasses.replace(self)
        object.__setattr__(stage, "group", name)
        Settings.__post_init__(stage)
        divides = stage.batch_size % stage.accumulate == 0
        stage.require(divides, "accumulate", f"a divisor of batch_size = {stage.batch_size}")
        return stage


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is measured before and after."""

    group = "evaluation"

    samples: int = setting(10, "held-out documents that are continued side by side", at_least(0))
    sample_tokens: int = setting(48, "by the base's tokenizer; as much text by others", at_least(1))
    seq_len: int = setting(256, "tokens in a row", at_least(2))
    batch_size: int = setting(4, "rows side by side", at_least(1))
    tasks: tuple[str, ...] = setting(
        (),
        "of lm-evaluation-harness (extra lm-eval), asked of the base and of the result; those of "
        "turkish_pairs need no network",
    )
    limit: int | None = setting(None, "documents of each task; None: all", at_least(1))


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
    extension: ExtensionConfig = ExtensionConfig()
    adapters: AdapterConfig = dataclasses.field(
        default_factory=lambda: AdapterConfig(kind="dora", rank=16)
    )
    optim: OptimConfig = dataclasses.field(
        default_factory=lambda: OptimConfig(lr=1e-3, warmup_steps=20)
    )
    noise: NoiseConfig = dataclasses.field(default_factory=lambda: NoiseConfig(alpha=5.0))
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    # The base itself; the rows of the new tokens alone; adapters and new rows; prompts and
    # responses, with noise.
    pretrain: TrainingConfig = TrainingConfig(tokens=819_200, lr_factor=3.0, batch_size=8)
    align: TrainingConfig = TrainingConfig(epochs=0.3, lr_factor=3.0, seq_len=128)
    first: TrainingConfig = TrainingConfig(epochs=3.0)
    second: TrainingConfig = TrainingConfig(epochs=4.0, lr_factor=0.7)
    third: TrainingConfig = TrainingConfig(epochs=3.0, lr_factor=0.5)
    instruct: TrainingConfig = TrainingConfig(lr_factor=0.5)
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (PRETRAINED, ALIGNED, *TRAINING, INSTRUCTED):
            object.__setattr__(self, name, getattr(self, name).named(name))
        self.first.require(bool(self.training), "epochs", "above 0, or that of second or third")
        adapters, extension = self.adapters, self.extension
        adapters.require(adapters.used, "kind", "an adapter, or whole")
        adapters.require(not adapters.init_from, "init_from", "empty: stages follow each other")
        known = extension.superwords < extension.vocab_size or not extension.superwords
        expected = f"below config.extension.vocab_size = {extension.vocab_size}, or 0"
        extension.require(known, "superwords", expected)

    @property
    def extends(self) -> bool:
        """Whether the tokenizer gets new tokens."""
        return self.extension.vocab_size > 0

    @property
    def lengths(self) -> dict[str, TrainingConfig]:
        """How the stages train that there are on the base, by their names, in order."""
        every = {name: getattr(self, name) for name in (ALIGNED, *TRAINING, INSTRUCTED)}
        if not self.extends:
            del every[ALIGNED]
        return {name: each for name, each in every.items() if each.tokens or each.epochs}

    @property
    def training(self) -> tuple[str, ...]:
        """The stages that train adapters on text, in their order."""
        return tuple(name for name in self.lengths if name in TRAINING)
