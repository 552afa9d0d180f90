"""Files that are there whole or not at all."""

import os
from pathlib import Path

from mmrec_jax.errors import UserError


def replace_file(path: Path, data: bytes) -> None:
    """Writes `data` beside `path` and renames it: a kill at any moment leaves old or new bytes.

    Raises:
      UserError: the file cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
