"""What the tests of training share."""

import pytest

from tests.small_run import write_text


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A text file to train on."""
    return write_text(tmp_path_factory.mktemp("text") / "words.txt")
