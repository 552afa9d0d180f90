import re
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import scan_backends as bench
from benchmarks.scan_table import read_table, write_table
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.scan_backends import BACKENDS
from mmrec_jax.models.mmrec.scan_table import Measurement


@pytest.fixture
def measured(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["", "--batch=2", "--width=3", "--runs=3", *arguments])
        return bench.print_times(bench._options())

    return run


def test_the_table_gets_this_device_and_keeps_the_others(measured, tmp_path, capsys):
    path = tmp_path / "table.csv"
    others = [
        Measurement("nvidia h100", 6, 2, "chunked", 1, 2, 3, 4),
        Measurement("cpu", 6, 7, "chunked", 1, 2, 3, 4),
    ]
    write_table(path, [*others, Measurement("cpu", 6, 2, "chunked", 1, 2, 3, -4)])
    measured("--lengths=2", f"--write-table={path}")
    rows = read_table(path)
    new = [row for row in rows if row not in others]
    assert len(rows) == len(new) + 2
    assert [(x.device, x.channels, x.length, x.backend) for x in new] == [
        ("cpu", 6, 2, name) for name in BACKENDS
    ]
    assert all(row.temporary_mib >= 0 and row.compile_s > 0 for row in new)
    assert all(row.gradient_ms > 0 and row.forward_ms > 0 for row in new)
    winner = re.search(r"fastest with gradients: (\w+)", capsys.readouterr().out)[1]
    assert winner == min(new, key=lambda row: row.gradient_ms).backend


def test_the_measured_program_returns_states_and_all_gradients():
    inputs = bench._random_inputs(2, 3, 5, jnp.dtype(jnp.bfloat16))
    names = ["float32", "bfloat16", "float32", "bfloat16", "float32"]
    assert [x.dtype.name for x in inputs] == names
    (h, h_last), gradients = jax.eval_shape(bench._gradient("chunked"), *inputs)
    assert (h.shape, h.dtype) == ((2, 5, 3), jnp.bfloat16)
    assert (h_last.shape, h_last.dtype) == ((2, 3), jnp.float32)
    assert [(x.shape, x.dtype) for x in gradients] == [(x.shape, x.dtype) for x in inputs[:3]]


def test_a_backend_without_memory_is_left_out(measured, monkeypatch):
    gradient = bench._gradient

    def no_memory(backend):
        if backend == "associative":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return gradient(backend)

    monkeypatch.setattr(bench, "_gradient", no_memory)
    left = bench.measure(2, 3, 2, jnp.dtype(jnp.float32), runs=1)
    assert [result.backend for result in left] == [x for x in BACKENDS if x != "associative"]
    with pytest.raises(UserError, match=f"--lengths {2**40}"):  # fits nowhere
        measured(f"--lengths={2**40}")
