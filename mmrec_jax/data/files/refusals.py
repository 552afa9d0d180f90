"""What was wrong in the data, and what is done about it."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Literal

from mmrec_jax.errors import UserError

# Is handed what is wrong with one record; it raises, or returns: then the record is left out.
Refuse = Callable[[UserError], None]
OnError = Literal["stop", "skip"]
_LISTED = 100


@dataclasses.dataclass
class Refusals:
    """Takes the errors of records and files: raises the first, or counts all and lists some."""

    on_error: OnError  # "stop" raises; "skip" counts
    count: int = 0  # errors so far
    messages: list[str] = dataclasses.field(default_factory=list)  # the first 100 of them

    def __call__(self, error: UserError) -> None:
        """Raises `error`, or counts it."""
        if self.on_error == "stop":
            raise error
        self.count += 1
        if len(self.messages) < _LISTED:
            self.messages.append(str(error))

    def show(self) -> None:
        """Prints how many were skipped and the list to standard error, if anything was."""
        if not self.count:
            return
        rest = self.count - len(self.messages)
        lines = [f"skipped {self.count:,} records or files that could not be read:"]
        lines += [f"  {message}" for message in self.messages]
        lines += [f"  and {rest:,} more"] if rest else []
        print("\n".join(lines), file=sys.stderr)


def stop(error: UserError) -> None:
    """The `Refuse` that raises."""
    raise error


def too_long(record: str, limit: int) -> UserError:
    """What is said of a record (named with its file) of more than `limit` bytes."""
    option = "config.data.max_record_mb, or --max-record-mb"
    return UserError(f"{record} is longer than {limit:,} bytes ({option})")
