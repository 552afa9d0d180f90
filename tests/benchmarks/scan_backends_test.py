import re

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.cli import main
from mmrec_jax.models.mmrec import scan as bench
from mmrec_jax.models.mmrec.scan_backends import BACKENDS
from mmrec_jax.models.mmrec.scan_table import Measurement, read_table, write_table

SMALL = ["bench", "scan", "--batch=2", "--width=3", "--runs=3"]
NUMBER = r"[\d.e+-]+"
TIMES = rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)"


def test_every_backend_and_shape_is_printed_and_the_winner_named(capsys):
    main([*SMALL, "--lengths", "2", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("cpu: B = 2, E = 3 (B*E = 6), float32; median (least to most) of 3 runs")
    lines = lines[-9:]  # a line about JAX's compilation cache may stand before
    assert lines[0].split()[:4] == ["T", "backend", "forward,", "ms"]
    for length, shape in ((2, lines[1:5]), (5, lines[5:])):
        best = {}
        for name, line in zip(BACKENDS, shape, strict=False):
            row = rf"{length} +{name} +{TIMES} +{TIMES} +({NUMBER}) +({NUMBER})"
            found = re.fullmatch(row, line)
            assert found, line
            forward, gradient = map(float, found.groups()[:3]), map(float, found.groups()[3:6])
            for median, least, most in (forward, gradient):
                assert 0 < least <= median <= most
            best[name] = float(found[5])
        said = rf"T = {length}: fastest with gradients: (\w+); auto takes (\w+)"
        winner, chosen = re.fullmatch(said, shape[3]).groups()
        assert best[winner] == min(best.values())  # printed digits may be equal
        assert chosen in BACKENDS


def test_the_table_gets_this_device_and_keeps_the_others(tmp_path, capsys):
    path = tmp_path / "table.csv"
    others = [
        Measurement("nvidia h100", 6, 2, "chunked", 1, 2, 3, 4),
        Measurement("cpu", 6, 7, "chunked", 1, 2, 3, 4),
    ]
    write_table(path, [*others, Measurement("cpu", 6, 2, "chunked", 1, 2, 3, -4)])
    main([*SMALL, "--lengths=2", f"--write-table={path}"])
    rows = read_table(path)
    new = [row for row in rows if row not in others]
    assert len(rows) == len(new) + 2
    assert [(x.device, x.channels, x.length, x.backend) for x in new] == [
        ("cpu", 6, 2, name) for name in BACKENDS
    ]
    assert all(row.temporary_mib >= 0 and row.compile_s > 0 for row in new)
    assert all(row.gradient_ms > 0 and row.forward_ms > 0 for row in new)
    assert capsys.readouterr().out.splitlines()[-1] == f"{path}: 1 shapes written, 5 rows in all"


def test_the_measured_program_returns_states_and_all_gradients():
    inputs = bench._random_inputs(2, 3, 5, jnp.dtype(jnp.bfloat16))
    assert [x.dtype.name for x in inputs] == [
        "float32",
        "bfloat16",
        "float32",
        "bfloat16",
        "float32",
    ]
    (h, h_last), gradients = jax.eval_shape(bench._gradient("chunked"), *inputs)
    assert (h.shape, h.dtype) == ((2, 5, 3), jnp.bfloat16)
    assert (h_last.shape, h_last.dtype) == ((2, 3), jnp.float32)
    assert [(x.shape, x.dtype) for x in gradients] == [(x.shape, x.dtype) for x in inputs[:3]]


def test_a_backend_without_memory_is_left_out(monkeypatch, capsys):
    gradient = bench._gradient

    def no_memory(backend):
        if backend == "associative":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return gradient(backend)

    monkeypatch.setattr(bench, "_gradient", no_memory)
    main([*SMALL, "--lengths=2"])
    assert re.search(r"2 +associative +does not fit in memory\n", capsys.readouterr().out)

    def broken(backend):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(bench, "_gradient", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        main([*SMALL, "--lengths=2"])


def test_a_shape_that_fits_nowhere_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*SMALL, f"--lengths={2**40}"])
    assert exit_.value.code == 2
    assert (
        capsys.readouterr().err == f"error: --lengths {2**40}: B*E*T = {6 * 2**40:,} does not fit\n"
    )
