import pytest

from benchmarks.scan_table import merge, read_table, write_table
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.scan_table import COMMITTED, Measurement, committed_table

_HEADER = ",".join(Measurement._fields)


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


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("device,length\ncpu,3\n", "no table"),
        (f"# note\n{_HEADER}\ncpu,1,1,parallel,1,1,1,1\n", "line 3"),
        (f"{_HEADER}\ncpu,1,x,chunked,1,1,1,1\n", "line 2"),
        (f"{_HEADER}\n\ncpu,1,1,chunked,1,1\n", "line 3"),
        (f"{_HEADER}\ncpu,1,1,chunked,1,nan,1,1\n", "line 2"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(content, named, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(content, "latin-1")
    with pytest.raises(UserError, match=rf"table\.csv.*{named}"):
        read_table(path)
