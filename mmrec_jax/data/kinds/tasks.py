"""The kinds of data that are synthetic tasks: examples drawn at random, answers known exactly."""

import dataclasses
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.kinds.config import DataConfig, PromptStyle
from mmrec_jax.settings import Check, at_least, setting, within

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Printable, one code point each, unchanged by NFC, and ascending: digits, letters, and for large
# alphabets the first block of CJK ideographs (U+4E00 to U+9FFF, 20,992 of them).
_SHORT = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FIRST_IDEOGRAPH = 0x4E00
_MOST = 20_000
_LENGTHS = Check(
    lambda lengths: lengths and min(lengths) > 0 and len(set(lengths)) == len(lengths),
    "different lengths of at least 1, such as 40,256",
)


class Example(NamedTuple):
    """One sequence of a task, [n] each; symbols are indices into `TaskConfig.symbols`.

    The last weight above 0 is that of the final answer.
    """

    inputs: NDArray[np.integer]
    targets: NDArray[np.integer]  # the answer after each input, which the model does not read
    weights: NDArray[np.floating]  # of each answer in the loss


@dataclasses.dataclass(frozen=True)
class TaskConfig(DataConfig):
    """Fresh examples of a task to train on, and fixed ones to be scored on."""

    evaluators: ClassVar[tuple[str, ...]] = ("task",)
    prompt_style: ClassVar[PromptStyle] = "none"
    weights: ClassVar[tuple[Any, ...]] = ()  # of sources: there is one

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

    @property
    def num_symbols(self) -> int:
        """Each symbol is a token."""
        raise NotImplementedError

    @property
    def shortest(self) -> int:
        """Tokens in the shortest example there is."""
        return 1

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """An example of exactly `length` tokens, which depends on the numbers of `rng` alone."""
        raise NotImplementedError

    def training_example(self, rng: np.random.Generator, length: int) -> Example:
        """As `example`, but to train on; a task may make some easier than those it is scored on."""
        return self.example(rng, length)

    @property
    def symbols(self) -> str:
        """The alphabet, a character for each symbol, ascending."""
        rest = range(_FIRST_IDEOGRAPH, _FIRST_IDEOGRAPH + max(0, self.num_symbols - len(_SHORT)))
        return _SHORT[: self.num_symbols] + "".join(map(chr, rest))

    def check(self, config: "Config") -> None:
        """See `DataConfig.check`."""
        super().check(config)
        here = f'with config.data.source "{self.source}"'
        fits = self.max_length <= self.seq_len
        self.require(fits, "max_length", f"at most config.data.seq_len = {self.seq_len} {here}")
        expected = f"at least {self.shortest} {here}"
        self.require(self.min_length >= self.shortest, "min_length", expected)
        self.require(min(self.eval_lengths) >= self.shortest, "eval_lengths", f"each {expected}")
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
            expected = f"off (config.objectives.{name}=None) {here}"
            objective.require(not objective.of_text, "weight", expected)

    def open(
        self, config: "Config", cache: Path, tokenizer: "Tokenizer | None" = None
    ) -> "Dataset":
        """See `DataConfig.open`; the tokenizer is the task's own."""
        from mmrec_jax.data.tasks.task_dataset import TaskDataset

        return TaskDataset(self)


def _asked_at(at: NDArray[Any] | slice, answers: NDArray[Any], inputs: NDArray[Any]) -> Example:
    """An example that asks at some positions only."""
    targets, weights = np.zeros(len(inputs), int), np.zeros(len(inputs))
    targets[at], weights[at] = answers, 1
    return Example(inputs, targets, weights)


@dataclasses.dataclass(frozen=True)
class ModularConfig(TaskConfig):
    """The sum so far, modulo a number, of uniform symbols."""

    source = "modular"

    modulus: int = setting(3, "the sum is taken modulo this number", within(2, _MOST))

    @property
    def num_symbols(self) -> int:
        """The numbers below the modulus."""
        return self.modulus

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """The answer at every position is the sum up to it."""
        inputs = rng.integers(0, self.num_symbols, length)
        return Example(inputs, np.cumsum(inputs) % self.num_symbols, np.ones(length))


@dataclasses.dataclass(frozen=True)
class ParityConfig(TaskConfig):
    """Is the number of ones so far odd?

    The smallest task that needs a state which turns over: a recurrence that is linear in its state
    with decays in (0, 1) cannot hold it beyond the lengths it was trained on.
    """

    source = "parity"
    num_symbols = 2
    example = ModularConfig.example


@dataclasses.dataclass(frozen=True)
class SymbolsConfig(TaskConfig):
    """A task over an alphabet of any size."""

    marked: ClassVar[bool] = False  # whether there is a marker beside the symbols, the last of all

    vocab_size: int = setting(256, "symbols, markers not counted", within(4, _MOST))

    @property
    def num_symbols(self) -> int:
        """With the marker."""
        return self.vocab_size + self.marked


@dataclasses.dataclass(frozen=True)
class MqarConfig(SymbolsConfig):
    """Multi-query associative recall: pairs of a key and a value, then the keys once more.

    Of V symbols the keys are drawn from 1 to V // 2 - 1 and the values from V // 2 to V - 1, both
    without replacement. The pairs stand first, key before value. What follows is cut into slots of
    two tokens: the n-th slot (n = 1, 2, ...) has the weight n^(a - 1), a = 0.01, and the keys draw
    theirs one after the other without replacement. A query is the first token of its slot, and the
    answer is asked at the query itself. All other tokens are uniform over all V symbols, so that a
    key or a value may stand there too; nothing is asked at them. Many pairs are learnt far sooner
    beside few (`min_pairs`; the source trains on a mixture too).

    Source: Arora et al. 2023, arXiv:2312.04927, with the settings of its authors' generator
    (`multiquery_ar` with random non-queries). Lengths may be odd here: the last token is filler.
    """

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

    @property
    def shortest(self) -> int:
        """A slot for each query."""
        return 4 * self.pairs

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """With all pairs."""
        return self._with_pairs(rng, length, self.pairs)

    def training_example(self, rng: np.random.Generator, length: int) -> Example:
        """With `min_pairs` to `pairs` pairs."""
        if self.min_pairs in (None, self.pairs):
            return self.example(rng, length)
        return self._with_pairs(rng, length, int(rng.integers(self.min_pairs, self.pairs + 1)))

    def _with_pairs(self, rng: np.random.Generator, length: int, pairs: int) -> Example:
        first_query, first_value = 2 * pairs, self.vocab_size // 2
        keys = 1 + rng.choice(first_value - 1, pairs, replace=False)
        values = first_value + rng.choice(self.vocab_size - first_value, pairs, replace=False)
        # The slot whose exponential clock of rate n^(a - 1) rings first has that probability, and
        # so on among the rest: draws without replacement, one after the other.
        number = np.arange(1, (length - first_query) // 2 + 1)
        rings = rng.exponential(size=len(number)) * number**0.99
        queries = first_query + 2 * np.argsort(rings)[:pairs]

        inputs = rng.integers(0, self.vocab_size, length)
        inputs[0:first_query:2], inputs[1:first_query:2] = keys, values
        inputs[queries] = keys
        return _asked_at(queries, values, inputs)


@dataclasses.dataclass(frozen=True)
class InductionConfig(SymbolsConfig):
    """What followed this symbol the last time?

    Uniform symbols with the marker at a uniform position and again at the end, where the symbol
    that followed it is asked.

    Source: Olsson et al. 2022, arXiv:2209.11895; in this form with a special token Gu and Dao 2023,
    arXiv:2312.00752, who train with 16 symbols and 256 tokens and score up to 2^20 tokens.
    """

    source = "induction"
    marked = True
    shortest = 3

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """One answer, at the end."""
        inputs = rng.integers(0, self.vocab_size, length)
        position = rng.integers(0, length - 2)
        inputs[position] = inputs[-1] = self.vocab_size
        return _asked_at(slice(-1, None), inputs[position + 1], inputs)


@dataclasses.dataclass(frozen=True)
class KHopConfig(SymbolsConfig):
    """As induction, several times over.

    Random symbols, no two alike in a row; the answer at i is the symbol k hops before i. A hop
    leads from a position to the one after the last earlier occurrence of its symbol. Where one of
    the k hops finds no earlier occurrence there is no answer, and none is asked.

    Source: Sanford et al. 2024, arXiv:2402.09268, section 4, with the distribution of its authors'
    code; they mix several k, told apart by a first token, and ask for a mark where there is no
    answer.
    """

    source = "k_hop"

    hops: int = setting(2, "how many times the last occurrence is looked up", at_least(1))

    @property
    def shortest(self) -> int:
        """So that there is an answer."""
        # The first hop fails at the first occurrence of each symbol and leads from different
        # positions to different ones: each hop adds at most `vocab_size` without an answer.
        return self.hops * self.vocab_size + 1

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """An answer wherever there is one."""
        steps = rng.integers(1, self.vocab_size, length)
        steps[0] = rng.integers(0, self.vocab_size)
        inputs = np.cumsum(steps) % self.vocab_size
        order = np.argsort(inputs, kind="stable")  # the positions of each symbol, ascending
        before, after = order[:-1], order[1:]
        same = inputs[before] == inputs[after]
        hop = np.full(length, -1)  # where a hop leads; -1: nowhere
        hop[after[same]] = before[same] + 1
        position = np.arange(length)
        for _ in range(self.hops):
            position = np.where(position >= 0, hop[position], -1)
        found = position >= 0
        return Example(inputs, np.where(found, inputs[position], 0), found.astype(float))


_VALUE = 4  # symbols of a needle's value


@dataclasses.dataclass(frozen=True)
class NeedleConfig(SymbolsConfig):
    """A value that was hidden somewhere before.

    In a haystack of uniform symbols stands a needle at a uniform depth: the marker, a key and the
    four symbols of its value, all uniform. The last five tokens are marker, key and all but the
    last symbol of the value: from the key on, the answer is the value's next symbol, the earlier
    ones being read (teacher forcing).
    """

    source = "needle"
    marked = True
    shortest = (2 + _VALUE) + (1 + _VALUE)

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """Four answers, at the end."""
        inputs = rng.integers(0, self.vocab_size, length)
        depth = rng.integers(0, length - self.shortest, endpoint=True)
        inputs[depth] = self.vocab_size
        needle = inputs[depth : depth + 2 + _VALUE]
        inputs[-1 - _VALUE :] = needle[:-1]
        return _asked_at(slice(-_VALUE, None), needle[2:], inputs)
