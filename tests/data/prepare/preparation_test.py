"""Preparing: the same bytes however it is done, and a line of error for whatever is wrong."""

import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.files.reading import find_sources
from mmrec_jax.data.prepare import executors, join, preparation, steps, tasks
from mmrec_jax.data.prepare.cleaning import clean
from mmrec_jax.data.prepare.manifest import ARRAYS, read_manifest
from mmrec_jax.data.prepare.report import left_out
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.split import text_share
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from tests.small_corpus import FILTERED, SPLIT, file_contents, prepare_small, write_corpus
from tests.small_data import refused
from tests.small_run import ROOT


@pytest.fixture(autouse=True)
def many_tasks(monkeypatch):
    """Tasks of some 20 documents; no waiting for the disk."""
    monkeypatch.setattr(tasks, "TASK_BYTES", 2000)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def whole(corpus, tmp_path):
    """The uninterrupted preparation."""
    prepare_small(tmp_path / "whole", corpus, FILTERED)
    return written(tmp_path / "whole")


def written(folder):
    """What is the result: all files but the logs."""
    return {name: data for name, data in file_contents(folder).items() if name[:4] != "logs"}


def done_by(folder):
    """When each task was done, by its stage and number."""
    paths = (folder / "logs").glob("*/completions/*")
    return {str(path): path.stat().st_mtime_ns for path in paths}


def killed_after(documents, out, corpus):
    """A preparation that dies while it writes."""
    share = steps.text_share

    def dying(text):
        nonlocal documents
        documents -= 1
        if documents < 0:
            raise KeyboardInterrupt
        return share(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "text_share", dying)
        with pytest.raises(KeyboardInterrupt):
            prepare_small(out, corpus, FILTERED)


def texts_of(folder, split):
    """The documents of a split, whose arrays are as `TokenStore` makes them of documents."""
    arrays = {name: np.fromfile(folder / split / name, dtype) for name, dtype in ARRAYS.items()}
    ends = zip(arrays["offsets"], arrays["offsets"][1:], strict=False)
    texts = [ByteTokenizer().decode(arrays["tokens"][a + 1 : b - 1]) for a, b in ends]
    again = TokenStore.from_documents([Document("", text) for text in texts], ByteTokenizer())
    assert all((getattr(again, name) == array).all() for name, array in arrays.items())
    return texts


def test_the_arrays_are_those_of_the_documents_in_memory(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(join, "_BLOCK_TOKENS", 1000)
    prepare_small(tmp_path, corpus, SPLIT)
    assert len(done_by(tmp_path)) > 8
    documents = [each for s in find_sources(corpus, "x") for each in s.documents(tasks.Reading())]
    for split, held in (("train", False), ("validation", True)):
        chosen = [clean(each.text)[0] for each in documents]
        chosen = [text for text in chosen if (text_share(text) < 0.1) == held]
        assert sorted(texts_of(tmp_path, split)) == sorted(chosen)


def test_what_was_left_out_adds_up_to_what_was_read(corpus, tmp_path):
    manifest = prepare_small(tmp_path, corpus, FILTERED)
    kept = sum(entry["documents"] for entry in manifest.splits.values())
    reasons = left_out(manifest)
    assert manifest.counts["read"] == kept + sum(reasons.values()) == 300
    # Of each special kind there are three in either source; one copy is kept.
    assert reasons.pop("duplicate") == 5
    assert reasons["too_short"] == 6
    assert 6 <= reasons["language"] <= 10  # English, and Turkish of three words
    assert manifest.counts["control_characters"] == 12
    assert 5 <= len(manifest.examples["language"]) <= 6
    assert manifest.languages["tr"] > 200


def test_workers_and_interruptions_change_nothing(corpus, tmp_path, whole):
    prepare_small(tmp_path / "two", corpus, FILTERED, workers=2)
    assert written(tmp_path / "two") == whole
    out, done = tmp_path / "killed", {}
    for documents in (30, 0, 55, 100):
        killed_after(documents, out, corpus)
        assert not (out / "manifest.json").exists()
        now = done_by(out)
        assert done.items() <= now.items()  # what was done is not done again
        assert len(now) > len(done) or documents == 0
        done = now
    prepare_small(out, corpus, FILTERED)
    assert done.items() <= done_by(out).items()
    assert written(out) == whole
    assert prepare_small(out, corpus, FILTERED)
    assert written(out) == whole


def test_a_worker_that_is_killed_ends_it_in_one_line(corpus, tmp_path, whole, monkeypatch):
    def killing(waiting):
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        return as_completed(waiting)

    with monkeypatch.context() as patch:
        patch.setattr(executors, "as_completed", killing)
        with refused("killed", "same command"):
            prepare_small(tmp_path / "out", corpus, FILTERED, workers=2)
    prepare_small(tmp_path / "out", corpus, FILTERED)
    assert written(tmp_path / "out") == whole


@pytest.mark.parametrize("finished", [True, False])
def test_another_command_is_refused_in_the_same_folder(corpus, tmp_path, finished):
    if finished:
        prepare_small(tmp_path, corpus, FILTERED)
    else:
        killed_after(30, tmp_path, corpus)
    other = dataclasses.replace(FILTERED, min_chars=7, dedup="none")
    with refused("--dedup", "--min-chars", "--fresh"):
        prepare_small(tmp_path, corpus, other)
    with refused("--tokenizer"):
        prepare_small(tmp_path, corpus, FILTERED, CharTokenizer.from_texts(["abc"]))
    with refused("--source"):
        prepare_small(tmp_path, corpus.split(",")[0], FILTERED)
    prepare_small(tmp_path, corpus, other, fresh=True)
    assert read_manifest(tmp_path, "x").identity["min_chars"] == 7


def test_a_folder_of_something_else_is_refused(corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    for fresh in (False, True):
        with refused("thesis.txt"):
            prepare_small(tmp_path, corpus, fresh=fresh)
    with refused("--out", "thesis.txt"):
        prepare_small(tmp_path / "thesis.txt", corpus)
    (tmp_path / "thesis.txt").unlink()


def test_the_folder_of_another_process_is_waited_for(corpus, tmp_path, capsys):
    with ThreadPoolExecutor() as pool:
        with preparation._locked(tmp_path):
            second = pool.submit(prepare_small, tmp_path, corpus)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
        assert second.result()
    assert "waiting for another process" in capsys.readouterr().err


def test_broken_records_stop_it_or_are_counted(tmp_path):
    pattern = write_corpus(tmp_path)
    good = [json.dumps({"text": f"bu {number}. satır okunur"}) for number in range(400)]
    (tmp_path / "more.jsonl").write_text("\n".join([*good[:300], '{"text": 5}', *good[300:], "{"]))
    cut = (tmp_path / "web.jsonl.gz").read_bytes()[:-1500]
    (tmp_path / "web.jsonl.gz").write_bytes(cut)
    with refused("web.jsonl.gz"):
        prepare_small(tmp_path / "out", pattern)
    with refused("more.jsonl:301"):
        prepare_small(tmp_path / "lines", f"{tmp_path / 'more.jsonl'}")
    manifest = prepare_small(
        tmp_path / "out", f"{pattern},{tmp_path / 'more.jsonl'}", stop=False, fresh=True
    )
    assert manifest.counts["refused"] == 3
    named = " ".join(manifest.examples["refused"])
    assert all(name in named for name in ("web.jsonl.gz", "more.jsonl:301", "more.jsonl:402"))
    (tmp_path / "a.txt").write_text("abc\n\nabd\n\ncab\n")
    with refused("a.txt", "'d'"):  # of a tokenizer without it
        prepare_small(
            tmp_path / "chars", f"{tmp_path}/a.txt", SPLIT, CharTokenizer.from_texts(["abc"])
        )


def test_a_disk_that_fills_up_keeps_what_is_complete(corpus, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        patch.setattr(join._SplitWriter, "finish", lambda _: (_ for _ in ()).throw(full))
        with refused("No space left on device", "continues"):
            prepare_small(tmp_path / "out", corpus, FILTERED)
    done = done_by(tmp_path / "out")
    prepare_small(tmp_path / "out", corpus, FILTERED)
    assert done.items() <= done_by(tmp_path / "out").items()
    assert written(tmp_path / "out") == whole


def test_splits_of_few_documents(tmp_path):
    (tmp_path / "few.txt").write_text("bir\n\n iki\n\niki \n\nüç\n")
    pattern = f"{tmp_path / 'few.txt'}"
    for fraction, held in ((0, 0), (1e-9, 1)):  # nothing, or the document with the lowest hash
        settings = PrepareSettings(validation_fraction=fraction, dedup="exact")
        manifest = prepare_small(tmp_path / f"out{held}", pattern, settings)
        sizes = [manifest.splits[split]["documents"] for split in ("train", "validation")]
        assert sizes == [3 - held, held]
    with refused("4 too_short", "no document is left"):
        prepare_small(tmp_path / "none", pattern, PrepareSettings(min_chars=50))


def test_copies_that_differ_in_white_space_alone_are_on_one_side(tmp_path):
    texts = [f"{number}. belge" for number in range(100)]
    lines = [json.dumps({"text": text}) for one in texts for text in (one, f" {one}\n")]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    prepare_small(tmp_path / "out", f"{tmp_path / 'a.jsonl'}", SPLIT)
    sides = [texts_of(tmp_path / "out", split) for split in ("train", "validation")]
    plain = [[text.strip() for text in side] for side in sides]
    assert all(len(side) == 2 * len(set(side)) for side in plain)
    assert not set(plain[0]) & set(plain[1])


def test_as_many_workers_run_as_fit_into_the_memory(corpus, tmp_path):
    with refused("--ram-mb is 50"):
        prepare_small(tmp_path, corpus, FILTERED, workers=2, ram_mb=50)
    assert executors.Resources(8, 1000).affordable(0, languages=False).workers == 6


_SLURM = {  # jobs that are done as soon as they are submitted
    "sbatch": """#!{python}
import os, re, subprocess, sys
script = open(sys.argv[-1]).read()
for index in range(int(re.search(r"--array=0-(\\d+)", script)[1]) + 1):
    names = {{"SLURM_ARRAY_TASK_ID": str(index), "SLURM_NODELIST": "here"}}
    subprocess.run(["bash", "-c", script], env={{**os.environ, **names}}, check=True, stdout=2)
print("Submitted batch job 7")
""",
    "srun": '#!/bin/bash\nexec "${{@:4}}"\n',
    "scontrol": "#!/bin/bash\necho here\n",
}


@pytest.mark.soak
@pytest.mark.parametrize("executor", ["ray", "slurm"])
def test_a_cluster_writes_the_same(corpus, tmp_path, executor, monkeypatch):
    monkeypatch.setattr(tasks, "TASK_BYTES", 10_000)
    settings = dataclasses.replace(FILTERED, dedup="minhash")
    prepare_small(tmp_path / "local", corpus, settings)
    options = {"executor": executor, "workers": 2}
    if executor == "slurm":
        for name, script in _SLURM.items():
            (tmp_path / name).write_text(script.format(python=sys.executable))
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        with refused("--slurm-partition"):
            prepare_small(tmp_path / executor, corpus, settings, **options)
        options["slurm"] = {"partition": "any", "time": "1:00:00"}
        assert prepare_small(tmp_path / executor, corpus, settings, **options) is None
    else:
        ray = pytest.importorskip("ray")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        (tmp_path / "a.jsonl").write_text('{"text": "bir"}\n{"text": 5}')
        try:
            prepare_small(tmp_path / executor, corpus, settings, **options)
            with refused("a.jsonl:2"):
                prepare_small(tmp_path / "bad", f"{tmp_path}/a.jsonl", settings, **options)
        finally:
            ray.shutdown()
    assert prepare_small(tmp_path / executor, corpus, settings)
    assert written(tmp_path / executor) == written(tmp_path / "local")
