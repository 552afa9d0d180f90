"""Compiled programs kept on disk, so that a run that continues does not compile again."""

import os
from pathlib import Path

import jax

from mmrec_jax.errors import UserError

# Programs that compile faster than this are not worth a file.
_MIN_SECONDS = 0.5


def enable_compile_cache() -> None:
    """Makes JAX keep what it compiles in `cache_directory`, unless the user has chosen another.

    The user chooses with JAX_COMPILATION_CACHE_DIR. A program read back is the one that was
    written: results do not change by a bit.

    Raises:
      UserError: the folder belongs to another user, or others may write to it.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        directory = cache_directory()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = directory.stat()
        except OSError:
            return  # a home that cannot be written: compile anew each time
        # Native code is run as it is found there.
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise UserError(
                f"{directory}: others can write to this cache of compiled programs; make it "
                "yours alone (chmod 700), or name another folder in JAX_COMPILATION_CACHE_DIR"
            )
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)


def cache_directory() -> Path:
    """The user's own cache of compiled programs: never in a run folder, which may be copied."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    base = Path(caches) if Path(caches).is_absolute() else Path.home() / ".cache"
    return base / "mmrec_jax" / "compiled"
