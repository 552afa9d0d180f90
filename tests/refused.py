"""What a user is told of a mistake: one line."""

from collections.abc import Callable

import pytest

from mmrec_jax.cli import main
from mmrec_jax.errors import UserError


def refused(make: Callable[[], object], *parts: str) -> None:
    """`make()` must be refused in one line with all the parts."""
    with pytest.raises(UserError) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def mistake(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which `mmrec ARGUMENTS` ends, progress bars left out."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments)])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    (line,) = (x for x in said.err.splitlines() if x and "it/s" not in x)
    assert line.startswith("error: ")
    return line
