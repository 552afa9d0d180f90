"""One small corpus and its preparation, for all tests of what is prepared."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small_corpus import FILTERED, prepare_small, write_corpus


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    # That files survive a loss of power is not tested, and costs most of the time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The pattern of two sources."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their uninterrupted preparation, with `FILTERED`. Tests must not change it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    prepare_small(out, corpus, FILTERED)
    return out
