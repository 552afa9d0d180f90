import os
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from mmrec_jax import xla_flags
from tests.small_run import ROOT

_AFFECTED = metadata.version("jaxlib") in xla_flags._AFFECTED
_OFF = "--xla_cpu_experimental_ynn_fusion_type="


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        ("0.10.2", "", _OFF),
        ("0.10.2", "--xla_a=1", f"--xla_a=1 {_OFF}"),
        ("0.10.2", f"--xla_a=1 {_OFF}X", f"--xla_a=1 {_OFF}X"),
        ("0.10.2", "missing.txt", "missing.txt"),
        ("0.10.2", "flags.txt", f"--xla_a=1\n--xla_b=2 {_OFF}"),
        ("0.10.1", "--xla_a=1", "--xla_a=1"),
        ("0.10.3", "", ""),
    ],
)
def test_the_flag_is_added_for_the_version_that_needs_it(
    version, given, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flags.txt").write_text("--xla_a=1\n--xla_b=2\n")
    monkeypatch.setattr(xla_flags.metadata, "version", lambda name: version)
    assert xla_flags.with_required(given) == expected


def _python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("module", ["mmrec_jax.cli", "benchmarks"])
def test_whatever_is_imported_sets_it_and_jax_does_not_start(module):
    code = f"import os, sys, {module}; print(os.environ['XLA_FLAGS'], 'jax' in sys.modules)"
    ran = _python("-c", code)
    expected = _OFF if _AFFECTED else ""
    assert ran.stdout == f"{expected} False\n", ran.stderr


def _gradients(tmp_path, *names):
    """Arrays of `tests.small_gradients` with the flag, and where JAX starts without it."""
    arrays, errors = [], []
    for late in ([], ["late"]):
        ran = _python("-m", "tests.small_gradients", tmp_path / "x.npz", *late, *names)
        assert ran.returncode == 0, ran.stderr
        errors.append(ran.stderr)
        with np.load(tmp_path / "x.npz") as file:
            arrays.append(dict(file))
    assert ("XLA_FLAGS" in errors[1]) == _AFFECTED
    assert "XLA_FLAGS" not in errors[0]
    return arrays


def _assert_close(actual, expected):
    expected = np.asarray(expected, np.float64)
    assert np.linalg.norm(actual - expected) < 1e-5 * np.linalg.norm(expected)


def test_batched_cotangents_are_those_of_one_at_a_time(tmp_path):
    fixed, broken = _gradients(tmp_path)
    for name in ("reduction", "normalisation"):
        _assert_close(fixed[name], fixed[f"{name} expected"])
        if _AFFECTED:  # else the list of versions is wrong
            with pytest.raises(AssertionError):
                _assert_close(broken[name], broken[f"{name} expected"])


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_gradients_of_the_shipped_configs_do_not_depend_on_it(tmp_path):
    names = ("tiny", "parity", "mqar", "sophia")
    fixed, broken = _gradients(tmp_path, *names, "jacrev")
    for name in names:
        _assert_close(fixed[name], broken[name])
    _assert_close(fixed["jacrev"], fixed["jacrev expected"])
