import os
import stat
import subprocess
import sys

import pytest

from tests.small_run import environment

_CODE = """
import jax
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.train.compiled_steps import enable_compile_cache
with exit_on_user_error():
    enable_compile_cache()
    print(jax.config.jax_compilation_cache_dir)
"""


def _run(home, **variables):
    names = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")
    clean = {name: value for name, value in environment().items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", _CODE],
        env=clean | {"HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_cache_is_the_users_own(tmp_path):
    folder = tmp_path / ".cache" / "mmrec_jax" / "compiled"
    for _ in range(2):  # made, and found
        assert _run(tmp_path).stdout == f"{folder}\n"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    other = tmp_path / "other"
    assert _run(tmp_path, XDG_CACHE_HOME=str(other)).stdout.startswith(f"{other}/mmrec_jax/")
    assert _run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(other)).stdout == f"{other}\n"


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_cache_that_others_can_write_to_is_refused(tmp_path, mode):
    folder = tmp_path / ".cache" / "mmrec_jax" / "compiled"
    folder.mkdir(parents=True)
    os.chmod(folder, mode)
    ran = _run(tmp_path)
    assert ran.returncode == 2
    assert str(folder) in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_home_that_cannot_hold_it_means_no_cache(tmp_path):
    (tmp_path / ".cache").write_text("a file")
    assert _run(tmp_path).stdout == "None\n"
