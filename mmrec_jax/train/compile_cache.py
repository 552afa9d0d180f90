"""Compiled programs kept on disk, so that a run that continues does not compile again."""

from pathlib import Path

import jax

# Programs that compile faster than this are not worth a file.
_MIN_SECONDS = 0.5


def enable_compile_cache(directory: Path) -> None:
    """Makes JAX keep what it compiles in `directory`, unless the user has chosen a place already.

    A program read back is the one that was written: results do not change by a bit.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)
