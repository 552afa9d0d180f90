"""Gold data beside the repository, read by tests that skip where it is absent."""

from pathlib import Path

import pytest

_MORPHOLOGY = Path(__file__).parents[3] / "shared/data/morph"


def gold_file(name: str) -> Path:
    """A file of gold morphology; skips the test where there is none."""
    path = _MORPHOLOGY / name
    if not path.exists():
        pytest.skip(f"needs {path}, which is no part of the project")
    return path
