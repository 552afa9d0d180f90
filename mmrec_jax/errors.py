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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or a device has no memory left."""
    # Told by name: JAX is not imported for this.
    from_jax = any(base.__name__ == "JaxRuntimeError" for base in type(error).__mro__)
    # Accelerators say the first, the CPU an internal error with the second.
    named = any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "Out of memory"))
    return isinstance(error, MemoryError) or (from_jax and named)


@contextlib.contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Raises a `UserError` that ends with `remedy` where memory runs out."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), "")
        raise UserError(f"out of memory{f' ({reason})' if reason else ''}: {remedy}") from error


def replace_unencodable_output() -> None:
    """Makes what the terminal's encoding lacks appear as "?" instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        # None without a terminal; a notebook's own streams take any text.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turns a `UserError` into one line on standard error and exit status 2, Ctrl-C into 130.

    Memory that runs out is such an error too.
    """
    replace_unencodable_output()
    try:
        with explain_out_of_memory("use smaller batches, shorter texts or fewer of them at once"):
            yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except UserError as error:
        # What a library said may have several lines.
        lines = (line.strip() for line in str(error).splitlines())
        print(f"error: {' '.join(line for line in lines if line)}", file=sys.stderr)
        raise SystemExit(2) from None
