"""The numbers of a probe as a file."""

import json
import math
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON, null for what is not finite (JSON has no word for it), in one step.

    Raises:
      OSError: the file cannot be written.
    """
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    replace_file(path, text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
