"""One list of texts, written in every format."""

import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import zstandard
from array_record.python import array_record_module

from mmrec_jax.data.formats.example_proto import write_example
from mmrec_jax.data.formats.source import find_sources

PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".xz": lzma.compress,
}


def write_array(path, texts, **style):
    records = [{"meta": {"a": [']\\"{']}, "text": text} for text in texts]
    path.write_bytes(json.dumps(records, **style).encode())


def write_arrow(path, texts):
    schema = pyarrow.schema({"text": pyarrow.string()})
    with pyarrow.ipc.new_stream(path, schema) as stream:
        for begin in range(0, len(texts), 5):
            stream.write_batch(pyarrow.record_batch([texts[begin : begin + 5]], schema))


def write_records(path, values):
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for value in values:
        writer.write(value)
    writer.close()


def write(path, texts):
    """Writes texts in the format of the file's name, one of `FORMATS`."""
    match path.name.partition("-")[0]:
        case "blocks.txt":
            path.write_bytes(("\ufeff" + "\r\n \t\r\n".join(texts)).encode())
        case "lines.jsonl":
            records = enumerate({"id": 7, "text": text} for text in texts)
            lines = [json.dumps(record, ensure_ascii=n % 2 > 0) for n, record in records]
            path.write_bytes("\n\n".join(lines).encode())
        case "dense.json":
            write_array(path, texts)
        case "pretty.json":
            write_array(path, texts, indent=2, ensure_ascii=False)
        case "rows.parquet":
            table = pyarrow.table({"id": range(len(texts)), "text": texts})
            pyarrow.parquet.write_table(table, path, row_group_size=7)
        case "rows.arrow":
            write_arrow(path, texts)
        case "texts.array_record":
            write_records(path, [text.encode() for text in texts])
        case "objects.array_record":
            write_records(path, [json.dumps({"text": text}).encode() for text in texts])
        case "examples.array_record":
            write_records(path, [write_example({"text": t.encode(), "id": b"7"}) for t in texts])


FORMATS = [
    *("blocks.txt", "lines.jsonl", "dense.json", "pretty.json", "rows.parquet", "rows.arrow"),
    *("texts.array_record", "objects.array_record", "examples.array_record-00000-of-00001"),
]


def source_file(path, chunk_bytes, cut="block", limit=1 << 20, **options):
    """The one file of a source."""
    sources = find_sources(
        str(path), "--data", cut, "text", limit, chunk_bytes=chunk_bytes, **options
    )
    ((file,),) = (source.files for source in sources)
    return file


def numbered_texts(file, refuse, first=0, step=1):
    """The texts of each chunk by its number."""
    found = {}
    for chunk in file.chunks(first, step):
        assert chunk.number not in found
        assert chunk.number >= first
        assert (chunk.number - first) % step == 0
        found[chunk.number] = [document.text for document in chunk.documents(refuse)]
    return found


def in_order(numbered):
    """The texts of all chunks in the order of their numbers."""
    return [text for number in sorted(numbered) for text in numbered[number]]
