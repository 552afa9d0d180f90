"""A small JSON file of the user's."""

import json
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError


def read_json_object(path: Path, where: str | None = None) -> dict[str, Any]:
    """The object in a UTF-8 file, which errors call `where`, or by its path.

    Raises:
      UserError: the file cannot be read, is no JSON, or holds something else than an object.
    """
    where = where or str(path)
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # bad UTF-8 too
        raise UserError(f"{where}: bad JSON ({error})") from None
    except RecursionError:
        raise UserError(f"{where}: bad JSON (nested too deeply)") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: must be a JSON object")
    return content
