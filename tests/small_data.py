"""What tests of data share: configs, batches, refusals, and the contract of what can be resumed."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from mmrec_jax.config import Config
from mmrec_jax.data.batch import Batch
from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.data.train_iterator import TrainIterator, joined_state
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.conversation import Conversation, Message


def data_config(source: str = "treebank", train: object = "", **fields: Any) -> DataConfig:
    """The data of a run: all tests make theirs here."""
    return DATA_KINDS[source](**({"train": str(train)} if train else {}), **fields)


def config_of(source: str = "treebank", train: object = "", **fields: Any) -> Config:
    """A run on this data; `seed=1` is a field of the data, `tokenizer__kind="char"` of a group."""
    groups: dict[str, dict[str, Any]] = {"tokenizer": {"kind": "byte"}, "train": {"steps": 5}}
    data = {}
    for name, value in fields.items():
        group, _, field = name.rpartition("__")
        (groups.setdefault(group, {}) if group else data)[field] = value
    made = {group: type(getattr(Config(), group))(**values) for group, values in groups.items()}
    return Config(data=data_config(source, train, **data), **made)


@contextlib.contextmanager
def refused(*names: object) -> Iterator[None]:
    """A mistake of the user is told in one line that names all of these."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert [name for name in map(str, names) if name not in message] == [], message


def talk(*texts: str, system: str = "", tools: Sequence[Any] = (), **extra: Any) -> Conversation:
    """Turns of the user and the assistant; those in parentheses are not learnt."""
    turns = [Message("system", system)] if system else []
    for index, text in enumerate(texts):
        plain = text.strip("()")
        turns.append(Message(("user", "assistant")[index % 2], plain, plain == text))
    if extra:
        turns[-1] = Message("assistant", turns[-1].text, extra=extra)
    return Conversation(f"f:{texts[0]}", tuple(turns), tuple(tools))


def take(batches: Iterator[Batch], count: int) -> list[Batch]:
    """The next batches."""
    return [next(batches) for _ in range(count)]


def assert_same(actual: Iterable[Batch], expected: Iterable[Batch]) -> None:
    """Batches are equal, bit for bit."""
    for a, b in zip(actual, expected, strict=True):
        assert a.keys() == b.keys()
        for name in b:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


def joined(parts: Sequence[Sequence[Batch]]) -> list[Batch]:
    """The batches of several processes as those of one."""
    return [
        {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        for batches in zip(*parts, strict=True)
    ]


def _epochs(stream: TrainIterator) -> dict[str, float]:
    return {name: n for name, n in stream.metrics().items() if name.startswith("epochs")}


def assert_resumable(
    make: Callable[[int, int], TrainIterator],
    *,
    steps: int,
    every: int = 1,
    processes: Sequence[int] = (),
) -> None:
    """A position saved between any two batches continues in a new object, bit for bit.

    Args:
      make: gives the stream of process `index` of `count`, from its beginning.
      steps: so many batches are compared.
      every: a position is continued from after each so many batches.
      processes: numbers of processes; what each number saved, each number continues.
    """
    ahead = 3
    whole, batches, states, epochs = make(0, 1), [], [], []
    for _ in range(steps):
        states.append(json.dumps(whole.get_state()))
        assert json.dumps(whole.get_state()) == states[-1]  # asking changes nothing
        epochs.append(_epochs(whole))
        batches.append(next(whole))
    for stop in range(0, steps - ahead, every):
        resumed = make(0, 1)
        take(resumed, stop % 3)  # what was read before does not matter
        resumed.set_state(json.loads(states[stop]))
        assert json.dumps(resumed.get_state()) == states[stop]
        assert_same(take(resumed, ahead), batches[stop : stop + ahead])
        assert json.dumps(resumed.get_state()) == states[stop + ahead]
        assert _epochs(resumed) == epochs[stop + ahead]
    stop = steps * 2 // 5
    for before, after in itertools.product(processes, repeat=2):
        first = [make(index, before) for index in range(before)]
        read = joined([take(each, stop) for each in first])
        state = json.dumps(joined_state([each.get_state() for each in first]))
        second = [make(index, after) for index in range(after)]
        for each in second:
            each.set_state(json.loads(state))
        read += joined([take(each, steps - stop) for each in second])
        assert_same(read, batches)
