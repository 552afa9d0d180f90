"""The part of the config that describes a synthetic task."""

import dataclasses

from mmrec_jax.config_check import require


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """Lengths of a task's examples, and the numbers that define some of the tasks.

    Read only when `data.source` is a task (`data/tasks`), which names those of the last four that
    it has; another one that is not at its default is refused there.
    """

    min_length: int = 1  # tokens in a training example; lengths are uniform up to the maximum
    max_length: int = 40
    eval_lengths: tuple[int, ...] = (40, 256, 1024)  # each is scored on its own
    eval_sequences: int = 256  # sequences a length, the same ones in every run
    vocab_size: int = 256  # symbols of mqar, induction, k_hop and needle, markers not counted
    pairs: int = 8  # mqar: keys, each with its value, and queries
    # mqar: a training example has a number of pairs that is uniform from this one to `pairs`; what
    # is scored always has `pairs`. None: training examples have them all too.
    min_pairs: int | None = None
    modulus: int = 3  # modular: the sum is taken modulo this number
    hops: int = 2  # k_hop: how many times the last occurrence is looked up

    def __post_init__(self) -> None:
        for name in ("min_length", "eval_sequences", "pairs", "hops"):
            require(getattr(self, name) > 0, f"task.{name}", getattr(self, name), "at least 1")
        require(
            self.min_pairs is None or 0 < self.min_pairs <= self.pairs,
            "task.min_pairs",
            self.min_pairs,
            f"from 1 to task.pairs = {self.pairs}, or None",
        )
        require(
            self.max_length >= self.min_length,
            "task.max_length",
            self.max_length,
            f"at least task.min_length = {self.min_length}",
        )
        lengths = self.eval_lengths
        require(
            bool(lengths) and min(lengths) > 0 and len(set(lengths)) == len(lengths),
            "task.eval_lengths",
            lengths,
            "different lengths of at least 1, such as 40,256",
        )
        for name, smallest in (("vocab_size", 4), ("modulus", 2)):
            value = getattr(self, name)
            # There are characters for somewhat more symbols: see data/tasks/alphabet.py.
            require(
                smallest <= value <= 20_000, f"task.{name}", value, f"from {smallest} to 20,000"
            )
