import tomllib

import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.scan_backends import BACKENDS
from mmrec_jax.models.mmrec.scan_table import (
    Measurement,
    committed_table,
    fastest,
    merge,
    read_table,
    write_table,
)
from tests.small_run import ROOT

HEADER = "device,channels,length,backend,forward_ms,gradient_ms,compile_s,temporary_mib"


def row(device="cpu", channels=512, length=256, backend="sequential", gradient=1.0):
    return Measurement(device, channels, length, backend, 0.5, gradient, 0.25, 2.0)


def test_the_least_time_with_gradients_wins_at_the_nearest_shape_in_log_space():
    table = [
        row(channels=512, length=256, backend="sequential", gradient=2),
        row(channels=512, length=256, backend="chunked", gradient=1),
        row(channels=512, length=4096, backend="associative", gradient=1),
        row(channels=8192, length=256, backend="sequential", gradient=9),
    ]
    for shape, expected in {
        (512, 256): "chunked",
        (1, 1): "chunked",
        (0, 256): "chunked",
        (512, 1023): "chunked",  # the geometric mean of 256 and 4096 is 1024
        (512, 1025): "associative",  # and their mean 2176
        (10**6, 256): "sequential",
        (4096, 257): "sequential",
    }.items():
        assert fastest(table, ["cpu"], *shape) == expected, shape


def test_the_most_specific_kind_with_rows_counts_and_an_unmeasured_one_is_associative():
    table = [
        row("gpu", backend="sequential"),
        row("nvidia h100", length=4096, backend="chunked"),
    ]
    assert fastest(table, ["nvidia h100", "gpu"], 512, 256) == "chunked"
    assert fastest(table, ["nvidia a100", "gpu"], 512, 256) == "sequential"
    assert fastest(table, ["tpu v4", "tpu"], 512, 256) == "associative"
    assert fastest([], ["cpu", "cpu"], 512, 256) == "associative"


def test_the_committed_table_has_every_backend_at_every_shape():
    shapes = {(x.device, x.channels, x.length) for x in committed_table()}
    found = sorted((x.device, x.channels, x.length, x.backend) for x in committed_table())
    assert found == sorted((*shape, name) for shape in shapes for name in BACKENDS)
    measured = {(channels, length) for device, channels, length in shapes if device == "cpu"}
    assert {512, 2048, 8192} <= {channels for channels, _ in measured}
    assert {256, 1024, 4096, 16384} <= {length for _, length in measured}


def test_the_committed_table_is_installed_with_the_library():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "models/mmrec/scan_table.csv" in setup["package-data"]["mmrec_jax"]


def test_what_is_written_is_read_back_sorted(tmp_path):
    path = tmp_path / "table.csv"
    rows = [row("tpu v4, x"), row(length=1024), row(backend="chunked"), row()]
    write_table(path, rows)
    assert read_table(path) == [rows[3], rows[2], rows[1], rows[0]]
    assert "has not been measured" in path.read_text("utf-8")
    assert [x.name for x in tmp_path.iterdir()] == ["table.csv"]


def test_merging_replaces_a_shape_whole_and_keeps_other_shapes_and_devices():
    old = [row(), row(backend="chunked"), row(length=1024), row("gpu")]
    new = [row(gradient=3.0)]
    assert merge(old, new) == [row(length=1024), row("gpu"), row(gradient=3.0)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "no table of measurements"),
        ("device,length\ncpu,3\n", "no table of measurements"),
        (f"# note\n{HEADER}\ncpu,1,1,parallel,1,1,1,1\n", "line 3: unknown backend 'parallel'"),
        (f"{HEADER}\ncpu,1,x,chunked,1,1,1,1\n", "line 2: invalid literal for int"),
        (f"{HEADER}\n\ncpu,1,1,chunked,1,1\n", "line 3: zip"),
        (f"{HEADER}\ncpu,1,1,chunked,1,nan,1,1\n", "line 2: gradient_ms is nan; it must be"),
        (f"{HEADER}\ncpu,0,1,chunked,1,1,1,1\n", "line 2: channels is 0; it must be above 0"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_damaged_table_is_one_line(content, expected, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(content, "latin-1")
    with pytest.raises(UserError, match=expected) as error:
        read_table(path)
    assert str(error.value).startswith(str(path))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing/table\.csv: this table cannot be written \(No"):
        write_table(tmp_path / "missing" / "table.csv", [])
