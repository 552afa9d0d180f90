"""What can go wrong while text is prepared: a line of error each, and nothing left out unsaid."""

import errno
import os

import numpy as np
import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.prepared import preparation
from mmrec_jax.data.prepared.journal import Journal
from mmrec_jax.data.prepared.output_folder import OutputFolder
from mmrec_jax.data.prepared.preparation import Resources, prepare_text
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.shard_writer import ShardWriter
from mmrec_jax.data.prepared.step_writer import most_documents, step_bytes
from mmrec_jax.data.prepared.tally import KEPT, REASONS
from mmrec_jax.data.quality.duplicates import Duplicates, num_keys
from mmrec_jax.errors import UserError
from tests.small_corpus import (
    FILTERED,
    SPLIT,
    file_contents,
    prepare_small,
    small_sources,
    write_corpus,
)


def _broken_corpus(folder):
    pattern = write_corpus(folder)
    lines = ('{"text": "bu satır okunur"}', '{"text": 5}', "{", '{"text": "bu da"}')
    (folder / "more.jsonl").write_text("\n".join(lines))
    cut = (folder / "web.jsonl.gz").read_bytes()[:-1500]
    (folder / "web.jsonl.gz").write_bytes(cut)
    return f"{pattern},{folder / 'more.jsonl'}"


def test_broken_records_stop_or_are_skipped_counted_and_listed(tmp_path):
    pattern, out = _broken_corpus(tmp_path), tmp_path / "out"
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"web.jsonl.gz: .*damaged"):
            prepare_small(out, pattern, SPLIT, workers=workers)
    manifest = prepare_small(out, pattern, SPLIT, on_error="skip").manifest
    assert manifest.skipped["records"] == 3
    lines = "".join((out / name).read_text() for name in manifest.skipped["files"]).splitlines()
    assert len(lines) == 3
    assert "web.jsonl.gz" in lines[0]
    assert "more.jsonl:2: field 'text' is a number" in lines[1]
    assert "more.jsonl:3: bad JSON" in lines[2]
    counts = manifest.tallies[2]["counts"]
    assert (counts["read"], counts["refused"]) == (4, 2)
    assert counts["read"] == sum(counts.get(name, 0) for name in (*KEPT, *REASONS))
    # The uninterrupted one that skips from the beginning is the same.
    prepare_small(tmp_path / "other", pattern, SPLIT, on_error="skip")
    assert file_contents(out) == file_contents(tmp_path / "other")


def test_what_a_tokenizer_refuses_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("abc\n\nabd\n\ncab\n\nbac\n\nca\n")
    tokenizer = CharTokenizer.from_texts(["abc"])
    settings = PrepareSettings(validation_fraction=0.3)
    pattern = str(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a.txt:3: .*'d'"):
        prepare_small(tmp_path / "out", pattern, settings, tokenizer=tokenizer)
    manifest = prepare_small(
        tmp_path / "out", pattern, settings, tokenizer=tokenizer, on_error="skip"
    ).manifest
    counts = manifest.tallies[0]["counts"]
    assert (counts["read"], counts["refused"]) == (5, 1)


def test_a_file_that_cannot_be_read(tmp_path):
    pattern = write_corpus(tmp_path)
    sources = small_sources(pattern)
    (tmp_path / "books.txt").unlink()
    arguments = (sources, ByteTokenizer(), SPLIT, Resources(0, 10_000))
    with pytest.raises(UserError, match=r"books.txt: .*No such file"):
        prepare_text(tmp_path / "out", *arguments)
    manifest = prepare_text(tmp_path / "out", *arguments, on_error="skip").manifest
    assert manifest.tallies[0]["counts"] == {"read": 1, "refused": 1}
    assert manifest.tallies[1]["counts"]["read"] == 150


def test_a_source_without_files(tmp_path):
    sources = [Source("none", ()), *small_sources(write_corpus(tmp_path)), Source("no", ())]
    told, size = [], sum(each.stat().st_size for each in tmp_path.iterdir())
    progress = lambda done, total, _: told.append((done, total))  # noqa: E731
    prepare_text(
        tmp_path / "out", sources, ByteTokenizer(), SPLIT, Resources(0, 10_000), progress=progress
    )
    assert told[0] == (0, size)
    assert told[-1] == (size, size)
    assert told == sorted(told)


def test_a_disk_that_fills_up(corpus, whole, tmp_path, monkeypatch):
    add, left = ShardWriter.add, 20_000

    def limited(self, tokens, documents):
        nonlocal left
        left -= tokens.nbytes
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, tokens, documents)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "add", limited)
        with pytest.raises(UserError, match=r"No space left on device; what is complete is kept"):
            prepare_small(tmp_path, corpus, FILTERED)
    assert (tmp_path / "train-00000.tokens").exists()
    assert not list(tmp_path.glob("*.part"))
    prepare_small(tmp_path, corpus, FILTERED)
    assert file_contents(tmp_path) == file_contents(whole)


def test_a_full_disk_leaves_no_part_of_a_shard(tmp_path, monkeypatch):
    writer = ShardWriter(tmp_path, "train-00000")
    writer.add(np.zeros(9, np.uint16), np.array([[9, 9, 0]]))

    class Full:
        def close(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer._file.close()
    writer._file = Full()
    with pytest.raises(OSError, match="No space"):
        writer.discard()
    assert not list(tmp_path.iterdir())


def test_files_of_a_completed_step_are_missed(tmp_path):
    rows = tmp_path / "train-00000.documents.npy"
    entry = {"tokens_file": "train-00000.tokens", "bytes": 2, "documents": 3}
    shards = {"train": [{**entry, "documents_file": rows.name}], "validation": []}
    skipped = {"records": 1, "files": ["skipped-00000.txt"]}
    Journal({}, shards=shards, skipped=skipped).write(tmp_path)
    (tmp_path / "train-00000.tokens").write_bytes(b"ab")
    with OutputFolder(tmp_path) as folder:
        for size in (None, 20):
            if size:
                rows.write_bytes(bytes(size))
            with pytest.raises(UserError, match="npy: this finished index is missing or cut"):
                folder.begin({}, fresh=False)
        rows.write_bytes(bytes(200))
        with pytest.raises(UserError, match=r"skipped-00000.txt: this list is missing"):
            folder.begin({}, fresh=False)
        (tmp_path / "skipped-00000.txt").write_text("x")
        folder.begin({}, fresh=False)


def test_a_folder_that_cannot_be_locked(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(UserError, match=r"the folder cannot be locked: No locks available"):
        OutputFolder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_chars": 5000}, r"no document of .* is left; 300 were read: 300 too_short"),
        ({"validation_fraction": 1e-9}, r"no document for validation.* one above 0\.\d+ holds"),
        ({"validation_fraction": 1 - 1e-9}, "no document for train of this little text; lower it"),
    ],
)
def test_an_empty_split_is_refused(corpus, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        prepare_small(tmp_path, corpus, PrepareSettings(**changes))


def test_a_table_of_duplicates_that_does_not_fit_is_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("mmrec_jax.data.quality.key_table._SMALLEST", 16)
    monkeypatch.setattr(
        "mmrec_jax.data.prepared.preparation.worker_bytes", lambda _: 10_000 * 1e6 / 2
    )
    with pytest.raises(
        UserError, match=r"the table of duplicates needs .* --ram-mb leaves it 0 MB"
    ):
        prepare_small(tmp_path, corpus, FILTERED, workers=2)


def test_the_keys_of_a_step_are_counted():
    assert [most_documents(kind) for kind in ("none", "exact")] == [2**19, 2**19]
    assert most_documents("minhash") * num_keys("minhash") <= 2**21
    assert all(step_bytes(kind) < 64e6 for kind in ("none", "exact", "minhash"))


def test_the_table_gets_what_a_step_leaves(corpus, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(preparation, "total_memory", lambda _: 0)
    monkeypatch.setattr(preparation, "Duplicates", lambda *a: given.append(a[1]) or Duplicates(*a))
    prepare_small(tmp_path, corpus, FILTERED, ram_mb=1000)
    assert given == [int(900e6) - step_bytes("exact")]


def test_too_little_memory_is_refused_up_front(corpus, tmp_path):
    with pytest.raises(UserError, match=r"--ram-mb is 50, but one worker process needs about 11"):
        prepare_small(tmp_path, corpus, FILTERED, workers=2, ram_mb=50)
