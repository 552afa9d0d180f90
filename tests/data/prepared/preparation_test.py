"""Preparing: the same bytes however it is done, and a line of error for whatever is wrong."""

import os
import shutil

import numpy as np
import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.prepared.manifest import read_manifest
from mmrec_jax.data.prepared.prepared_store import PreparedStore
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.tally import KEPT, REASONS, total_counts
from mmrec_jax.data.quality.cleaning import clean
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from tests.small_corpus import FILTERED, file_contents, prepare_small, small_sources, write_corpus


class _Stop(Exception):
    pass


def _stop_after(chunks):
    def progress(*_):
        nonlocal chunks
        chunks -= 1
        if chunks == 0:
            raise _Stop

    return progress


def _documents(pattern):
    """The documents of the sources, in their order."""

    def refuse(error):
        raise error

    files = [file for source in small_sources(pattern) for file in source.files]
    return [each for file in files for chunk in file.chunks() for each in chunk.documents(refuse)]


def test_the_store_is_that_of_the_documents_in_memory(corpus, tmp_path):
    manifest = prepare_small(tmp_path, corpus).manifest
    assert min(len(manifest.shards[split]) for split in KEPT) > 3
    documents = [clean(document)[0] for document in _documents(corpus)]
    assert len(documents) == 300
    for split, held in (("train", False), ("validation", True)):
        chosen = [each for each in documents if (hash_share(each.text) < 0.1) == held]
        expected = TokenStore.from_documents(chosen, ByteTokenizer())
        store = PreparedStore.open([(tmp_path, manifest)], split)
        assert (store.tokens[:] == expected.tokens).all()
        for name in ("offsets", "byte_counts", "character_counts"):
            assert (getattr(store, name) == getattr(expected, name)).all()


def test_what_was_left_out_adds_up_to_what_was_read(whole):
    tallies = read_manifest(whole, "x").tallies
    for tally in tallies:
        counts = tally["counts"]
        assert counts["read"] == sum(counts.get(name, 0) for name in (*KEPT, *REASONS)) == 150
        assert sum(tally["read_lengths"]) == 150
        assert sum(tally["kept_lengths"]) == counts["train"] + counts["validation"]
    counts = total_counts(tallies)
    # Of each special kind there are three in either source; the first copy is kept.
    assert counts["exact_duplicate"] == 5
    assert counts["too_short"] == counts["language"] == counts["composed"] == counts["cleaned"] == 6
    assert counts["control_characters"] == 12
    store = PreparedStore.open([(whole, read_manifest(whole, "x"))], "train")
    assert counts["train_tokens"] == len(store.tokens)
    assert counts["train_bytes"] == store.num_bytes
    assert counts["train_characters"] == store.num_characters


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_do_not_depend_on_the_workers(corpus, whole, tmp_path, workers):
    outcome = prepare_small(tmp_path, corpus, FILTERED, workers=workers)
    assert outcome.workers == workers
    assert file_contents(tmp_path) == file_contents(whole)


def test_they_do_not_depend_on_interruptions(corpus, whole, tmp_path):
    expected, begun = file_contents(whole), 0
    for chunks in range(3, 24, 5):
        shutil.rmtree(tmp_path)
        try:
            prepare_small(tmp_path, corpus, FILTERED, progress=_stop_after(chunks))
        except _Stop:
            assert not (tmp_path / "manifest.json").exists()
            begun += (tmp_path / "train-00000.tokens").exists()
            # What a kill would have left in the middle of a file.
            (tmp_path / "train-00009.tokens.part").write_bytes(b"x")
            (tmp_path / ".journal.json.77.tmp").write_bytes(b"x")
            prepare_small(tmp_path, corpus, FILTERED)
            assert file_contents(tmp_path) == expected
    assert begun >= 3


def test_interrupted_again_and_again(corpus, whole, tmp_path):
    for _ in range(100):
        try:
            prepare_small(tmp_path, corpus, FILTERED, progress=_stop_after(8))
            break
        except _Stop:
            continue
    assert file_contents(tmp_path) == file_contents(whole)


def test_a_finished_preparation_is_left_alone(corpus, whole):
    before = file_contents(whole)
    outcome = prepare_small(whole, corpus, FILTERED, progress=_stop_after(1))
    assert outcome.done_before
    assert file_contents(whole) == before


@pytest.mark.parametrize("finished", [True, False])
def test_other_options_are_refused(corpus, whole, tmp_path, finished):
    if finished:
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    else:
        with pytest.raises(_Stop):
            prepare_small(tmp_path, corpus, FILTERED, progress=_stop_after(8))
    other = PrepareSettings(**{**FILTERED.record(), "min_chars": 7, "dedup": "none"})
    with pytest.raises(UserError, match=r"--dedup \(there exact, now none\); --min-chars \(the"):
        prepare_small(tmp_path, corpus, other)
    with pytest.raises(UserError, match="--tokenizer is another tokenizer"):
        prepare_small(tmp_path, corpus, FILTERED, tokenizer=CharTokenizer.from_texts(["abc"]))
    swapped = ",".join(reversed(corpus.split(",")))
    with pytest.raises(UserError, match=r"--source: .*web.jsonl.gz \(there .*books.txt\)"):
        prepare_small(tmp_path, swapped, FILTERED)
    with pytest.raises(UserError, match="--source: 1 sources, there were 2"):
        prepare_small(tmp_path, corpus.split(",")[0], FILTERED)
    prepare_small(tmp_path, corpus, other, fresh=True)
    assert read_manifest(tmp_path, "x").settings["min_chars"] == 7


def test_changed_sources_are_refused(tmp_path):
    pattern, out = write_corpus(tmp_path), tmp_path / "out"
    with pytest.raises(_Stop):
        prepare_small(out, pattern, FILTERED, progress=_stop_after(8))
    with (tmp_path / "books.txt").open("a") as file:
        file.write("\nbir satır daha\n")
    with pytest.raises(UserError, match=r"sizes of the files of .*books.txt have changed"):
        prepare_small(out, pattern, FILTERED)


def test_a_folder_of_something_else_is_refused(corpus, tmp_path, whole):
    (tmp_path / "thesis.txt").write_text("x")
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"holds something else \(thesis.txt\)"):
            prepare_small(tmp_path, corpus, FILTERED, fresh=fresh)
    (tmp_path / "thesis.txt").unlink()
    shutil.copy(whole / "train-00000.tokens", tmp_path)
    with pytest.raises(UserError, match=r"holds shards but no journal.json; --fresh begins anew"):
        prepare_small(tmp_path, corpus, FILTERED)
    with pytest.raises(UserError, match=r"--out .*train-00000.tokens: (File exists|Not a dir)"):
        prepare_small(tmp_path / "train-00000.tokens", corpus)


def test_two_at_once_are_refused(corpus, tmp_path):
    def second(*_):
        with pytest.raises(UserError, match="another process is preparing into it"):
            prepare_small(tmp_path, corpus, FILTERED)
        raise _Stop

    with pytest.raises(_Stop):
        prepare_small(tmp_path, corpus, FILTERED, progress=second)


@pytest.mark.parametrize("damage", ["missing", "short", "keys"])
def test_what_is_not_as_it_was_left_is_not_continued(corpus, tmp_path, damage):
    with pytest.raises(_Stop):
        prepare_small(tmp_path, corpus, FILTERED, progress=_stop_after(12))
    shard, keys = tmp_path / "train-00000.tokens", tmp_path / "keys-00000.npy"
    if damage == "missing":
        shard.unlink()
    elif damage == "short":
        os.truncate(shard, 100)
    else:
        keys.write_bytes(keys.read_bytes()[:-1] + b"\xff")
    name = keys.name if damage == "keys" else shard.name
    with pytest.raises(UserError, match=rf"{name}: this .*(missing|100 bytes|damaged).*--fresh"):
        prepare_small(tmp_path, corpus, FILTERED)
    prepare_small(tmp_path, corpus, FILTERED, fresh=True)


def test_tokens_are_as_narrow_as_the_vocabulary_allows(whole):
    manifest = read_manifest(whole, "x")
    entry = manifest.shards["train"][0]
    tokens = np.fromfile(whole / entry["tokens_file"], "<u2")
    assert manifest.dtype == "<u2"
    assert tokens[0] == ByteTokenizer().bos_id
    assert int(np.sum(tokens == ByteTokenizer().eos_id)) == entry["documents"]
