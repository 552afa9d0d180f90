"""Preparing: the same bytes however it is done, and a line of error for whatever is wrong."""

import errno
import os
import shutil

import numpy as np
import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.prepared.manifest import read_manifest
from mmrec_jax.data.prepared.prepared_store import PreparedStore
from mmrec_jax.data.prepared.preparation import Resources, prepare_text
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.shard_writer import ShardWriter
from mmrec_jax.data.prepared.tally import KEPT, REASONS, total_counts
from mmrec_jax.data.quality.cleaning import clean
from mmrec_jax.data.split import hash_share
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from tests.small_corpus import small_sources, write_corpus

_SETTINGS = PrepareSettings(
    validation_fraction=0.1, shard_mb=0.008, dedup="minhash", language="tr", min_chars=6
)
_TOKENIZER = ByteTokenizer()


class _Stop(Exception):
    pass


def _prepare(out, pattern, settings=_SETTINGS, workers=0, tokenizer=_TOKENIZER, **options):
    resources = Resources(workers, ram_mb=options.pop("ram_mb", 10_000))
    return prepare_text(out, small_sources(pattern), tokenizer, settings, resources, **options)


def _stop_after(chunks):
    def progress(*_):
        nonlocal chunks
        chunks -= 1
        if chunks == 0:
            raise _Stop

    return progress


def _contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk():
    # That files survive a loss of power is not tested, and costs most of the time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """The uninterrupted preparation. Tests must not change it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    _prepare(out, corpus)
    return out


def _documents(pattern):
    """The documents of the sources, in their order."""

    def refuse(error):
        raise error

    files = [file for source in small_sources(pattern) for file in source.files]
    return [each for file in files for chunk in file.chunks() for each in chunk.documents(refuse)]


def test_the_store_is_that_of_the_documents_in_memory(corpus, tmp_path):
    settings = PrepareSettings(validation_fraction=0.1, shard_mb=0.008)
    manifest = _prepare(tmp_path, corpus, settings).manifest
    assert min(len(manifest.shards[split]) for split in KEPT) > 3
    documents = [clean(document)[0] for document in _documents(corpus)]
    assert len(documents) == 300
    for split, held in (("train", False), ("validation", True)):
        chosen = [each for each in documents if (hash_share(each.text) < 0.1) == held]
        expected = TokenStore.from_documents(chosen, _TOKENIZER)
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
    outcome = _prepare(tmp_path, corpus, workers=workers)
    assert outcome.workers == workers
    assert _contents(tmp_path) == _contents(whole)


def test_they_do_not_depend_on_interruptions(corpus, whole, tmp_path):
    expected, begun = _contents(whole), 0
    for chunks in range(2, 26, 4):
        shutil.rmtree(tmp_path)
        try:
            _prepare(tmp_path, corpus, progress=_stop_after(chunks))
        except _Stop:
            assert not (tmp_path / "manifest.json").exists()
            begun += (tmp_path / "train-00000.tokens").exists()
            # What a kill would have left in the middle of a file.
            (tmp_path / "train-00009.tokens.part").write_bytes(b"x")
            (tmp_path / ".journal.json.77.tmp").write_bytes(b"x")
            _prepare(tmp_path, corpus)
            assert _contents(tmp_path) == expected
    assert begun >= 3


def test_interrupted_again_and_again(corpus, whole, tmp_path):
    for _ in range(100):
        try:
            _prepare(tmp_path, corpus, progress=_stop_after(8))
            break
        except _Stop:
            continue
    assert _contents(tmp_path) == _contents(whole)


def test_a_finished_preparation_is_left_alone(corpus, whole):
    before = _contents(whole)
    outcome = _prepare(whole, corpus, progress=_stop_after(1))
    assert outcome.done_before
    assert _contents(whole) == before


@pytest.mark.parametrize("finished", [True, False])
def test_other_options_are_refused(corpus, whole, tmp_path, finished):
    if finished:
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    else:
        with pytest.raises(_Stop):
            _prepare(tmp_path, corpus, progress=_stop_after(8))
    other = PrepareSettings(**{**_SETTINGS.record(), "min_chars": 7, "dedup": "exact"})
    with pytest.raises(UserError, match=r"--dedup \(there minhash, now exact\); --min-chars \(the"):
        _prepare(tmp_path, corpus, other)
    with pytest.raises(UserError, match="--tokenizer is another tokenizer"):
        _prepare(tmp_path, corpus, tokenizer=CharTokenizer.from_texts(["abc"]))
    with pytest.raises(UserError, match="--source: 1 sources, there were 2"):
        _prepare(tmp_path, corpus.split(",")[0])
    _prepare(tmp_path, corpus, other, fresh=True)
    assert read_manifest(tmp_path, "x").settings["min_chars"] == 7


def test_changed_sources_are_refused(tmp_path):
    pattern, out = write_corpus(tmp_path), tmp_path / "out"
    with pytest.raises(_Stop):
        _prepare(out, pattern, progress=_stop_after(8))
    with (tmp_path / "books.txt").open("a") as file:
        file.write("\nbir satır daha\n")
    with pytest.raises(UserError, match=r"sizes of the files of .*books.txt have changed"):
        _prepare(out, pattern)


def test_a_folder_of_something_else_is_refused(corpus, tmp_path, whole):
    (tmp_path / "thesis.txt").write_text("x")
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"holds something else \(thesis.txt\)"):
            _prepare(tmp_path, corpus, fresh=fresh)
    (tmp_path / "thesis.txt").unlink()
    shutil.copy(whole / "train-00000.tokens", tmp_path)
    with pytest.raises(UserError, match=r"holds shards but no journal.json; --fresh begins anew"):
        _prepare(tmp_path, corpus)
    with pytest.raises(UserError, match="--out .*train-00000.tokens: (File exists|Not a dir)"):
        _prepare(tmp_path / "train-00000.tokens", corpus)


def test_two_at_once_are_refused(corpus, tmp_path):
    def second(*_):
        with pytest.raises(UserError, match="another process is preparing into it"):
            _prepare(tmp_path, corpus)
        raise _Stop

    with pytest.raises(_Stop):
        _prepare(tmp_path, corpus, progress=second)


@pytest.mark.parametrize("damage", ["missing", "short", "keys"])
def test_what_is_not_as_it_was_left_is_not_continued(corpus, tmp_path, damage):
    with pytest.raises(_Stop):
        _prepare(tmp_path, corpus, progress=_stop_after(12))
    shard, keys = tmp_path / "train-00000.tokens", tmp_path / "keys-00000.npy"
    if damage == "missing":
        shard.unlink()
    elif damage == "short":
        os.truncate(shard, 100)
    else:
        keys.write_bytes(keys.read_bytes()[:-1] + b"\xff")
    name = keys.name if damage == "keys" else shard.name
    with pytest.raises(UserError, match=rf"{name}: this .*(missing|100 bytes|damaged).*--fresh"):
        _prepare(tmp_path, corpus)
    _prepare(tmp_path, corpus, fresh=True)


def _broken_corpus(folder):
    pattern = write_corpus(folder)
    lines = ('{"text": "bu satır okunur"}', '{"text": 5}', "{", '{"text": "bu da"}')
    (folder / "more.jsonl").write_text("\n".join(lines))
    cut = (folder / "web.jsonl.gz").read_bytes()[:-1500]
    (folder / "web.jsonl.gz").write_bytes(cut)
    return f"{pattern},{folder / 'more.jsonl'}"


def test_broken_records_stop_or_are_skipped_counted_and_listed(tmp_path):
    pattern, out = _broken_corpus(tmp_path), tmp_path / "out"
    settings = PrepareSettings(validation_fraction=0.1, shard_mb=0.008)
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"web.jsonl.gz: .*damaged"):
            _prepare(out, pattern, settings, workers=workers)
    manifest = _prepare(out, pattern, settings, on_error="skip").manifest
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
    _prepare(tmp_path / "other", pattern, settings, on_error="skip")
    assert _contents(out) == _contents(tmp_path / "other")


def test_what_a_tokenizer_refuses_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("abc\n\nabd\n\ncab\n\nbac\n\nca\n")
    tokenizer = CharTokenizer.from_texts(["abc"])
    settings = PrepareSettings(validation_fraction=0.3)
    pattern = str(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a.txt:3: .*'d'"):
        _prepare(tmp_path / "out", pattern, settings, tokenizer=tokenizer)
    manifest = _prepare(
        tmp_path / "out", pattern, settings, tokenizer=tokenizer, on_error="skip"
    ).manifest
    counts = manifest.tallies[0]["counts"]
    assert (counts["read"], counts["refused"]) == (5, 1)


def test_a_file_that_cannot_be_read(tmp_path):
    pattern = write_corpus(tmp_path)
    sources = small_sources(pattern)
    (tmp_path / "books.txt").unlink()
    settings = PrepareSettings(validation_fraction=0.1)
    arguments = (sources, _TOKENIZER, settings, Resources(0, 10_000))
    with pytest.raises(UserError, match=r"books.txt: .*No such file"):
        prepare_text(tmp_path / "out", *arguments)
    manifest = prepare_text(tmp_path / "out", *arguments, on_error="skip").manifest
    assert manifest.tallies[0]["counts"] == {"read": 1, "refused": 1}
    assert manifest.tallies[1]["counts"]["read"] == 150


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
            _prepare(tmp_path, corpus)
    assert (tmp_path / "train-00000.tokens").exists()
    assert not list(tmp_path.glob("*.part"))
    _prepare(tmp_path, corpus)
    assert _contents(tmp_path) == _contents(whole)


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
        _prepare(tmp_path, corpus, PrepareSettings(**changes))


def test_a_table_of_duplicates_that_does_not_fit_is_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("mmrec_jax.data.quality.key_table._SMALLEST", 16)
    monkeypatch.setattr(
        "mmrec_jax.data.prepared.preparation.worker_bytes", lambda _: 10_000 * 1e6 / 2
    )
    with pytest.raises(UserError, match="the table of duplicates needs .* --ram-mb leaves it 0 MB"):
        _prepare(tmp_path, corpus, workers=2)


def test_too_little_memory_is_refused_up_front(corpus, tmp_path):
    with pytest.raises(UserError, match=r"--ram-mb is 50, but one worker process needs about 11"):
        _prepare(tmp_path, corpus, workers=2, ram_mb=50)


def test_tokens_are_as_narrow_as_the_vocabulary_allows(whole):
    manifest = read_manifest(whole, "x")
    entry = manifest.shards["train"][0]
    tokens = np.fromfile(whole / entry["tokens_file"], "<u2")
    assert manifest.dtype == "<u2"
    assert tokens[0] == _TOKENIZER.bos_id
    assert int(np.sum(tokens == _TOKENIZER.eos_id)) == entry["documents"]
