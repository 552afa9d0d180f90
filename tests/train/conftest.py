"""Steps that several tests compile alike are compiled once a session."""

from collections.abc import Iterator

import jax
import pytest

from tests.small_run import session_directory, write_text


@pytest.fixture(autouse=True, scope="package")
def compilation_cache() -> Iterator[None]:
    """Keeps compiled steps in a folder of the session."""
    jax.config.update("jax_compilation_cache_dir", str(session_directory() / "compiled_in_process"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A text file to train on."""
    return write_text(tmp_path_factory.mktemp("text") / "words.txt")
