"""Preparing: the same bytes however it is done, and a line of error for whatever is wrong."""

import errno
import os
import shutil

import pytest

from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.prepared import preparation
from mmrec_jax.data.prepared.manifest import read_manifest
from mmrec_jax.data.prepared.output_folder import OutputFolder
from mmrec_jax.data.prepared.preparation import Resources, prepare_text
from mmrec_jax.data.prepared.prepared_store import PreparedStore
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.shard_writer import ShardWriter
from mmrec_jax.data.prepared.step_writer import most_documents, step_bytes
from mmrec_jax.data.prepared.tally import KEPT, REASONS, total_counts
from mmrec_jax.data.quality.cleaning import clean
from mmrec_jax.data.quality.duplicates import num_keys
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from tests.small_corpus import (
    FILTERED,
    SPLIT,
    file_contents,
    prepare_small,
    small_sources,
    write_corpus,
)
from tests.small_data import refused


class _Stop(Exception):
    pass


def _stop_after(chunks):
    def progress(*_):
        nonlocal chunks
        chunks -= 1
        if chunks == 0:
            raise _Stop

    return progress


def stopped(out, pattern, chunks=8):
    """An interrupted preparation."""
    with pytest.raises(_Stop):
        prepare_small(out, pattern, FILTERED, progress=_stop_after(chunks))


def _raise(error):
    raise error


def test_the_store_is_that_of_the_documents_in_memory(corpus, tmp_path):
    manifest = prepare_small(tmp_path, corpus).manifest
    assert manifest.dtype == "<u2"  # as narrow as the vocabulary allows
    assert min(len(manifest.shards[split]) for split in KEPT) > 3
    files = [file for source in small_sources(corpus) for file in source.files]
    chunks = [chunk for file in files for chunk in file.chunks()]
    documents = [clean(each)[0] for chunk in chunks for each in chunk.documents(_raise)]
    assert len(documents) == 300
    for split, held in (("train", False), ("validation", True)):
        chosen = [each for each in documents if (hash_share(each.text) < 0.1) == held]
        expected = TokenStore.from_documents(chosen, ByteTokenizer())
        store = PreparedStore.open([(tmp_path, manifest)], split)
        assert (store.tokens[:] == expected.tokens).all()
        for name in ("offsets", "byte_counts", "character_counts"):
            assert (getattr(store, name) == getattr(expected, name)).all()


def test_what_was_left_out_adds_up_to_what_was_read(whole):
    manifest = read_manifest(whole, "x")
    for tally in manifest.tallies:
        counts = tally["counts"]
        assert counts["read"] == sum(counts.get(name, 0) for name in (*KEPT, *REASONS)) == 150
        assert sum(tally["read_lengths"]) == 150
        assert sum(tally["kept_lengths"]) == counts["train"] + counts["validation"]
    counts = total_counts(manifest.tallies)
    # Of each special kind there are three in either source; the first copy is kept.
    assert counts["exact_duplicate"] == 5
    assert counts["too_short"] == counts["language"] == counts["composed"] == counts["cleaned"] == 6
    assert counts["control_characters"] == 12
    store = PreparedStore.open([(whole, manifest)], "train")
    assert counts["train_tokens"] == len(store.tokens)
    assert counts["train_bytes"] == store.num_bytes
    assert counts["train_characters"] == store.num_characters


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_the_workers(corpus, whole, tmp_path, workers):
    assert prepare_small(tmp_path, corpus, FILTERED, workers=workers).workers == workers
    assert file_contents(tmp_path) == file_contents(whole)


def test_they_do_not_depend_on_interruptions(corpus, whole, tmp_path):
    expected, begun = file_contents(whole), 0
    for chunks in (3, 8, 13, 18, 23):
        shutil.rmtree(tmp_path)
        stopped(tmp_path, corpus, chunks)
        assert not (tmp_path / "manifest.json").exists()
        begun += (tmp_path / "train-00000.tokens").exists()
        # What a kill would have left in the middle of a file.
        (tmp_path / "train-00009.tokens.part").write_bytes(b"x")
        (tmp_path / ".journal.json.77.tmp").write_bytes(b"x")
        prepare_small(tmp_path, corpus, FILTERED)
        assert file_contents(tmp_path) == expected
    assert begun >= 3
    shutil.rmtree(tmp_path)
    for _ in range(100):  # again and again
        try:
            prepare_small(tmp_path, corpus, FILTERED, progress=_stop_after(8))
            break
        except _Stop:
            continue
    assert file_contents(tmp_path) == expected
    assert prepare_small(tmp_path, corpus, FILTERED, progress=_stop_after(1)).done_before
    assert file_contents(tmp_path) == expected


@pytest.mark.parametrize("finished", [True, False])
def test_other_options_and_sources_are_refused(corpus, whole, tmp_path, finished):
    if finished:
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    else:
        stopped(tmp_path, corpus)
    other = PrepareSettings(**{**FILTERED.record(), "min_chars": 7, "dedup": "none"})
    with refused("--dedup", "--min-chars"):
        prepare_small(tmp_path, corpus, other)
    with refused("--tokenizer"):
        prepare_small(tmp_path, corpus, FILTERED, tokenizer=CharTokenizer.from_texts(["abc"]))
    swapped = ",".join(reversed(corpus.split(",")))
    for pattern, named in ((swapped, "web.jsonl.gz"), (corpus.split(",")[0], "1")):
        with refused("--source", named):
            prepare_small(tmp_path, pattern, FILTERED)
    prepare_small(tmp_path, corpus, other, fresh=True)
    assert read_manifest(tmp_path, "x").settings["min_chars"] == 7


def test_a_changed_source_is_refused(tmp_path):
    pattern, out = write_corpus(tmp_path), tmp_path / "out"
    stopped(out, pattern)
    with (tmp_path / "books.txt").open("a") as file:
        file.write("\nbir satır daha\n")
    with refused("books.txt"):
        prepare_small(out, pattern, FILTERED)


def test_a_folder_of_something_else_is_refused(corpus, tmp_path, whole, monkeypatch):
    (tmp_path / "thesis.txt").write_text("x")
    for fresh in (False, True):
        with refused("thesis.txt"):
            prepare_small(tmp_path, corpus, FILTERED, fresh=fresh)
    (tmp_path / "thesis.txt").unlink()
    shutil.copy(whole / "train-00000.tokens", tmp_path)
    with refused("journal.json", "--fresh"):
        prepare_small(tmp_path, corpus, FILTERED)
    with refused("--out", "train-00000.tokens"):
        prepare_small(tmp_path / "train-00000.tokens", corpus)
    monkeypatch.setattr("fcntl.flock", lambda *_: _raise(OSError(errno.ENOLCK, "No locks")))
    with refused(tmp_path, "No locks"):
        OutputFolder(tmp_path)


def test_two_at_once_are_refused(corpus, tmp_path):
    def second(*_):
        with refused(tmp_path):
            prepare_small(tmp_path, corpus, FILTERED)
        raise _Stop

    with pytest.raises(_Stop):
        prepare_small(tmp_path, corpus, FILTERED, progress=second)


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 100), None])
@pytest.mark.parametrize(
    "name", ["train-00000.tokens", "train-00000.documents.npy", "keys-00000.npy"]
)
def test_what_is_not_as_it_was_left_is_not_continued(corpus, tmp_path, name, damage):
    stopped(tmp_path, corpus, 12)
    path = tmp_path / name
    if damage:
        damage(path)
    elif name.startswith("keys"):
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    else:
        return  # its checksum is looked at when it is read
    with refused(name, "--fresh"):
        prepare_small(tmp_path, corpus, FILTERED)
    prepare_small(tmp_path, corpus, FILTERED, fresh=True)


def test_broken_records_stop_or_are_skipped_counted_and_listed(tmp_path):
    pattern, out = write_corpus(tmp_path), tmp_path / "out"
    lines = ('{"text": "bu satır okunur"}', '{"text": 5}', "{", '{"text": "bu da"}')
    (tmp_path / "more.jsonl").write_text("\n".join(lines))
    cut = (tmp_path / "web.jsonl.gz").read_bytes()[:-1500]
    (tmp_path / "web.jsonl.gz").write_bytes(cut)
    pattern += f",{tmp_path / 'more.jsonl'}"
    for workers in (0, 1):
        with refused("web.jsonl.gz"):
            prepare_small(out, pattern, SPLIT, workers=workers)
    manifest = prepare_small(out, pattern, SPLIT, on_error="skip").manifest
    assert manifest.skipped["records"] == 3
    lines = "".join((out / name).read_text() for name in manifest.skipped["files"]).splitlines()
    for line, named in zip(lines, ("web.jsonl.gz", "more.jsonl:2", "more.jsonl:3"), strict=True):
        assert named in line
    counts = manifest.tallies[2]["counts"]
    assert (counts["read"], counts["refused"]) == (4, 2)
    assert counts["read"] == sum(counts.get(name, 0) for name in (*KEPT, *REASONS))
    # The uninterrupted one that skips from the start is the same.
    prepare_small(tmp_path / "other", pattern, SPLIT, on_error="skip")
    assert file_contents(out) == file_contents(tmp_path / "other")


def test_what_a_tokenizer_refuses_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("abc\n\nabd\n\ncab\n\nbac\n\nca\n")
    options = {"tokenizer": CharTokenizer.from_texts(["abc"])}
    arguments = (tmp_path / "out", f"{tmp_path}/a.txt", PrepareSettings(validation_fraction=0.3))
    with refused("a.txt:3", "'d'"):
        prepare_small(*arguments, **options)
    counts = prepare_small(*arguments, **options, on_error="skip").manifest.tallies[0]["counts"]
    assert (counts["read"], counts["refused"]) == (5, 1)


def test_a_file_that_cannot_be_read(tmp_path):
    sources = small_sources(write_corpus(tmp_path))
    (tmp_path / "books.txt").unlink()
    arguments = (sources, ByteTokenizer(), SPLIT, Resources(0, 10_000))
    with refused("books.txt", "No such file"):
        prepare_text(tmp_path / "out", *arguments)
    manifest = prepare_text(tmp_path / "out", *arguments, on_error="skip").manifest
    assert manifest.tallies[0]["counts"] == {"read": 1, "refused": 1}
    assert manifest.tallies[1]["counts"]["read"] == 150


def test_progress_goes_from_nothing_to_all_with_sources_without_files(tmp_path):
    sources = [Source("none", ()), *small_sources(write_corpus(tmp_path)), Source("no", ())]
    told, size = [], sum(each.stat().st_size for each in tmp_path.iterdir())
    arguments = (tmp_path / "out", sources, ByteTokenizer(), SPLIT, Resources(0, 10_000))
    prepare_text(*arguments, progress=lambda done, total, _: told.append((done, total)))
    assert (told[0], told[-1]) == ((0, size), (size, size))
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
        with refused("No space left on device"):
            prepare_small(tmp_path, corpus, FILTERED)
    assert (tmp_path / "train-00000.tokens").exists()
    assert not list(tmp_path.glob("*.part"))
    prepare_small(tmp_path, corpus, FILTERED)
    assert file_contents(tmp_path) == file_contents(whole)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"min_chars": 5000}, ("300 were read", "300 too_short")),
        ({"validation_fraction": 1e-9}, ("validation",)),
        ({"validation_fraction": 1 - 1e-9}, ("train",)),
    ],
)
def test_an_empty_split_is_refused(corpus, tmp_path, changes, named):
    with refused(*named):
        prepare_small(tmp_path, corpus, PrepareSettings(**changes))


def test_memory_that_does_not_suffice_is_refused_up_front(corpus, tmp_path, monkeypatch):
    with refused("--ram-mb is 50", "11"):
        prepare_small(tmp_path, corpus, FILTERED, workers=2, ram_mb=50)
    monkeypatch.setattr("mmrec_jax.data.quality.key_table._SMALLEST", 16)
    monkeypatch.setattr(preparation, "worker_bytes", lambda _: 10_000 * 1e6 / 2)
    with refused("duplicates", "--ram-mb"):
        prepare_small(tmp_path, corpus, FILTERED, workers=2)
    assert most_documents("minhash") * num_keys("minhash") <= 2**21
    assert all(step_bytes(kind) < 64e6 for kind in ("none", "exact", "minhash"))
