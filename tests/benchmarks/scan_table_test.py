import pytest

from benchmarks.scan_table import merge, read_table, write_table
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.scan_table import COMMITTED, Measurement, committed_table


def row(device="cpu", length=256, backend="sequential", gradient=1.0):
    return Measurement(device, 512, length, backend, 0.5, gradient, 0.25, 2.0)


def test_what_is_written_is_read_back_sorted(tmp_path):
    path = tmp_path / "table.csv"
    rows = [row("tpu v4, x"), row(length=1024), row(backend="chunked"), row()]
    write_table(path, rows)
    assert read_table(path) == rows[::-1]
    assert tuple(read_table(COMMITTED)) == committed_table()
    with pytest.raises(UserError, match=r"missing/table\.csv: .*cannot be written"):
        write_table(tmp_path / "missing" / "table.csv", [])


def test_merging_replaces_a_shape_whole_and_keeps_other_shapes_and_devices():
    old = [row(), row(backend="chunked"), row(length=1024), row("gpu")]
    new = [row(gradient=3.0)]
    assert merge(old, new) == [row(length=1024), row("gpu"), row(gradient=3.0)]
