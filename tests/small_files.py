"""The same texts in each kind of file, and what is read from a file."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import pyarrow
import pyarrow.parquet

from mmrec_jax.data.files.compression import zstd
from mmrec_jax.data.files.reading import Reading, read_documents
from mmrec_jax.data.files.refusals import Refusals

TEXTS = [f"belge {n}\n{n} söz" + ", “söz”" * n for n in range(40)]


def frames(data, **options):
    parameter = zstd.CompressionParameter
    options = {getattr(parameter, name): value for name, value in options.items()}
    return zstd.compress(data, options={parameter.checksum_flag: 1, **options})


PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": frames,
}


def _csv(texts, delimiter):
    written = io.StringIO()
    rows = csv.writer(written, delimiter=delimiter)
    rows.writerows([["id", "text"], *enumerate(texts)])
    return written.getvalue().encode()


def table_bytes(kind, columns, rows=7):
    """A file of Parquet ("parquet"), or Arrow in one of its forms."""
    written, table = io.BytesIO(), pyarrow.table(columns)
    if kind == "parquet":
        pyarrow.parquet.write_table(table, written, row_group_size=rows)
        return written.getvalue()
    writer = pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file
    packed = pyarrow.ipc.IpcWriteOptions(compression="lz4" if kind == "feather" else None)
    with writer(written, table.schema, options=packed) as file:
        file.write_table(table, max_chunksize=rows)
    return written.getvalue()


def written(texts=TEXTS):
    """The texts in each kind of file."""
    objects = [{"id": 7, "text": text, "tags": ["]}"]} for text in texts]
    lines = [json.dumps(each, ensure_ascii=n % 2 > 0) for n, each in enumerate(objects)]
    columns = {"id": range(len(texts)), "text": texts, "tags": [["a"]] * len(texts)}
    return {
        "blocks.txt": "\r\n \t\n".join(texts).encode(),
        "lines.jsonl": "\n\n".join(lines).encode(),
        "lines.json": "\n".join(lines).encode(),
        "dense.json": json.dumps(objects).encode(),
        "pretty.json": b"\xef\xbb\xbf" + json.dumps(objects, indent=2).encode(),
        "objects.json": "\n".join(json.dumps(each, indent=1) for each in objects).encode(),
        "rows.csv": _csv(texts, ","),
        "semicolons.csv": _csv(texts, ";"),
        "rows.tsv": _csv(texts, "\t"),
        "rows.parquet": table_bytes("parquet", columns),
        "rows.arrow": table_bytes("stream", columns),
        "rows.ipc": table_bytes("file", columns),
        "rows.feather": table_bytes("feather", columns),
    }


FILES = written()
PACKED = [name for name in FILES if Path(name).suffix in (".txt", ".jsonl", ".json", ".csv")]


def write(path, data="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def texts(pattern, refuse=None, limit=1 << 20, **reading):
    found = read_documents(
        str(pattern),
        "--data",
        Reading(max_record_bytes=limit, **reading),
        refuse or Refusals("stop"),
    )
    return [document.text for document in found]
