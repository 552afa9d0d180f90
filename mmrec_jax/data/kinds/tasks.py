"""The kinds of data that are synthetic tasks (`data/tasks`)."""

import dataclasses
import os
from typing import TYPE_CHECKING, ClassVar

from mmrec_jax.data.kinds.config import DataConfig, PromptStyle
from mmrec_jax.settings import Check, at_least, setting, within

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.data.tasks.task import Task
    from mmrec_jax.tokenizers.tokenizer import Tokenizer

# There are characters for somewhat more symbols: see data/tasks/alphabet.py.
_MOST = 20_000
_LENGTHS = Check(
    lambda lengths: lengths and min(lengths) > 0 and len(set(lengths)) == len(lengths),
    "different lengths of at least 1, such as 40,256",
)


@dataclasses.dataclass(frozen=True)
class TaskConfig(DataConfig):
    """Fresh examples of a task to train on, and fixed ones to be scored on."""

    evaluators: ClassVar[tuple[str, ...]] = ("task",)
    prompt_style: ClassVar[PromptStyle] = "none"

    min_length: int = setting(
        1, "tokens in a training example; lengths are uniform up to the maximum", at_least(1)
    )
    max_length: int = setting(40, "tokens in a training example", at_least(1))
    eval_lengths: tuple[int, ...] = setting(
        (40, 256, 1024), "each is scored on its own", _LENGTHS, free=True
    )
    eval_sequences: int = setting(
        256, "sequences of each length, the same ones in every run", at_least(1), free=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        longer = self.max_length >= self.min_length
        self.require(longer, "max_length", f"at least data.min_length = {self.min_length}")

    def make_task(self) -> "Task":
        """The task.

        Raises:
          UserError: a field does not suit it.
        """
        raise NotImplementedError

    def check(self, config: "Config") -> None:
        """See `DataConfig.check`."""
        super().check(config)
        here = f'with config.data.source "{self.source}"'
        fits = self.max_length <= self.seq_len
        self.require(fits, "max_length", f"at most config.data.seq_len = {self.seq_len} {here}")
        shortest = self.make_task().min_length
        expected = f"at least {shortest} {here}"
        self.require(self.min_length >= shortest, "min_length", expected)
        self.require(min(self.eval_lengths) >= shortest, "eval_lengths", f"each {expected}")
        char = config.tokenizer.kind == "char"
        config.tokenizer.require(char, "kind", f'"char" {here}: each symbol of it is a token')
        train = config.train
        for name, off, reason in (
            ("sample_tokens", 0, "the targets are answers, not the next token"),
            ("eval_batches", None, "data.eval_sequences says how much is scored"),
            ("carry_state", False, "no example is longer than a row"),
        ):
            train.require(getattr(train, name) == off, name, f"{off} {here}: {reason}")
        for name, objective in config.objectives.items():
            objective.require(
                not objective.of_text, "weight", f"off (config.objectives.{name}=None) {here}"
            )

    def open(
        self,
        config: "Config",
        tokenizer_cache: str | os.PathLike[str],
        tokenizer: "Tokenizer | None" = None,
    ) -> "Dataset":
        """See `DataConfig.open`."""
        from mmrec_jax.data.tasks.task_dataset import TaskDataset

        del config, tokenizer_cache, tokenizer  # the task has its own
        return TaskDataset(self)


@dataclasses.dataclass(frozen=True)
class ParityConfig(TaskConfig):
    """Is the number of ones so far odd?"""

    source = "parity"

    def make_task(self) -> "Task":
        """See the base."""
        from mmrec_jax.data.tasks.parity import Parity

        return Parity()


@dataclasses.dataclass(frozen=True)
class ModularConfig(TaskConfig):
    """The sum so far, modulo a number."""

    source = "modular"

    modulus: int = setting(3, "the sum is taken modulo this number", within(2, _MOST))

    def make_task(self) -> "Task":
        """See the base."""
        from mmrec_jax.data.tasks.modular import Modular

        return Modular(self.modulus)


@dataclasses.dataclass(frozen=True)
class SymbolsConfig(TaskConfig):
    """A task over an alphabet of any size."""

    vocab_size: int = setting(256, "symbols, markers not counted", within(4, _MOST))


@dataclasses.dataclass(frozen=True)
class MqarConfig(SymbolsConfig):
    """Multi-query associative recall: pairs of a key and a value, then the keys once more."""

    source = "mqar"

    pairs: int = setting(8, "keys, each with its value, and queries", at_least(1))
    min_pairs: int | None = setting(
        None,
        "a training example has a number of pairs that is uniform from this one to `pairs`; what "
        "is scored always has `pairs`; None: training examples have them all too",
        at_least(1),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.min_pairs is None or self.min_pairs <= self.pairs
        self.require(fits, "min_pairs", f"from 1 to data.pairs = {self.pairs}, or None")
        keys = self.vocab_size // 2 - 1
        expected = f"at most {keys}, the number of keys among data.vocab_size = {self.vocab_size}"
        self.require(self.pairs <= keys, "pairs", f"{expected} symbols")

    def make_task(self) -> "Task":
        """See the base."""
        from mmrec_jax.data.tasks.mqar import MultiQueryRecall

        return MultiQueryRecall(self.vocab_size, self.pairs, self.min_pairs)


@dataclasses.dataclass(frozen=True)
class InductionConfig(SymbolsConfig):
    """What followed this symbol the last time?"""

    source = "induction"

    def make_task(self) -> "Task":
        """See the base."""
        from mmrec_jax.data.tasks.induction import Induction

        return Induction(self.vocab_size)


@dataclasses.dataclass(frozen=True)
class KHopConfig(SymbolsConfig):
    """As induction, several times over."""

    source = "k_hop"

    hops: int = setting(2, "how many times the last occurrence is looked up", at_least(1))

    def make_task(self) -> "Task":
        """See the base."""
        from mmrec_jax.data.tasks.k_hop import KHop

        return KHop(self.vocab_size, self.hops)


@dataclasses.dataclass(frozen=True)
class NeedleConfig(SymbolsConfig):
    """A value that was hidden somewhere before."""

    source = "needle"

    def make_task(self) -> "Task":
        """See the base."""
        from mmrec_jax.data.tasks.needle import Needle

        return Needle(self.vocab_size)
