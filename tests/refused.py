"""What a user is told of a wrong value: one line."""

from collections.abc import Callable

import pytest

from mmrec_jax.errors import UserError


def refused(make: Callable[[], object], *parts: str) -> None:
    """`make()` must be refused in one line with all the parts."""
    with pytest.raises(UserError) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
