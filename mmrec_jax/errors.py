"""The one exception that is shown to a user as a single line.

Everything a user can get wrong (a path, a field, a file's bytes, a checkpoint of another model)
raises `UserError` before any compute is spent. The command-line entry points print its message
and exit with status 2; a traceback always means a bug in the project.
"""

import contextlib
import sys
from collections.abc import Iterator


class UserError(Exception):
    """A mistake the user can repair. The message names the file, field or line, and the remedy."""


class NotFiniteError(UserError):
    """Training diverged: a loss or a gradient is no number any more."""


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turns a `UserError` into one line on standard error and exit status 2, Ctrl-C into 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
