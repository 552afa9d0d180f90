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


# The smallest program that jaxlib 0.10.2 gets wrong, and pullbacks, beside what is right; compiled
# with XLA's own optimisation. With "late" JAX starts before mmrec_jax is imported.
_PROGRAM = """
import sys, jax, jax.numpy as jnp, numpy as np
if sys.argv[2:] == ["late"]:
    jax.devices()
import mmrec_jax
rng = np.random.default_rng(0)
x, c = rng.normal(size=(2049, 8)), rng.normal(size=(2, 2049, 8))
reduce = jax.jit(lambda x, c: c * (x * c).sum(-1, keepdims=True))
pullback = jax.vjp(lambda x: x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True)), x)[1]
found = {
    "reduction": reduce(jnp.float32(x), jnp.float32(c)),
    "reduction expected": c * (x * c).sum(-1, keepdims=True),
    "normalisation": jax.jit(jax.vmap(pullback))(jnp.float32(c))[0],
    "normalisation expected": jnp.stack([jax.jit(pullback)(row)[0] for row in c]),
}
np.savez(sys.argv[1], **found)
"""


def _gradients(tmp_path):
    """Arrays of `_PROGRAM` with the flag, and where JAX starts without it."""
    arrays, errors = [], []
    for late in ([], ["late"]):
        ran = _python("-c", _PROGRAM, tmp_path / "x.npz", *late)
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
