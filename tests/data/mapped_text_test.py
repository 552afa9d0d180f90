"""Text that is larger than memory: the same text, found again, whole or not at all."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata

import pytest

from mmrec_jax.data import mapped_text as module
from mmrec_jax.data.files.reading import Reading, find_sources
from mmrec_jax.data.mapped_text import PART_BYTES, Holding, map_text
from mmrec_jax.data.split import text_share
from mmrec_jax.errors import UserError
from tests.small_data import refused
from tests.small_run import environment

ALL = Holding(0.0, 1 << 20)
_LONG = "uzun çok uzun bir söz " * 9000
TEXTS = [f"belge {n} çay" for n in range(300)] + ["e\u0301" * 50_000, _LONG, "x" + "ş" * 70_000]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def write(path, texts=TEXTS):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join(texts), "utf-8")
    return path


def mapped(path, holding=ALL, on_error="stop", **reading):
    (source,) = find_sources(str(path), "--data")
    return map_text(source, Reading(**reading), on_error, holding)


def documents(text):
    """The documents that the parts make up."""
    found = []
    for part, begins in enumerate(text.begins):
        found.append(text.text(part) if begins else found.pop() + text.text(part))
    return found


def test_the_parts_are_the_text(tmp_path):
    path = write(tmp_path / "a.txt")
    text = mapped(path)
    assert documents(text) == [unicodedata.normalize("NFC", each) for each in TEXTS]
    parts = [text.text(part) for part in range(len(text.lengths))]
    assert [len(part.encode()) for part in parts] == text.lengths.tolist()
    assert text.lengths.max() <= PART_BYTES
    assert all(unicodedata.is_normalized("NFC", part) for part in parts)
    assert (text.lengths.dtype, text.begins.dtype, text.name) == ("int32", "bool", str(path))
    cut = [part for part, begins in zip(parts, text.begins, strict=True) if not begins]
    assert sum(part.startswith(" ") for part in cut) == len(_LONG.encode()) // PART_BYTES
    assert text.document_name(3) == f"{path}:7"
    assert text.document_name(len(parts) - 1) == f"{path}:{2 * len(TEXTS) - 1}"


def _refuse(*_):
    raise UserError("made anew")
    yield


def test_a_table_is_made_once_for_the_same_files_and_settings(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt")
    first = mapped(path)
    monkeypatch.setattr(module, "_rows", _refuse)
    assert mapped(path).fingerprint == first.fingerprint
    for other in ({"documents": "file"}, {"holding": Holding(0.5, 99)}, {"on_error": "skip"}):
        with refused("anew"):
            mapped(path, **other)
    os.utime(path, ns=(1, 1))
    with refused("anew"):
        mapped(path)


def test_the_fingerprint_is_that_of_the_text_wherever_it_lies(tmp_path):
    joined = [TEXTS[0] + TEXTS[1], *TEXTS[2:]]
    texts = {"a": TEXTS, "moved/b": TEXTS, "c": [*TEXTS, "x"], "d": joined}
    found = [mapped(write(tmp_path / f"{n}.txt", texts[n])).fingerprint for n in texts]
    assert found[0] == found[1]
    assert len(set(found)) == 3


@pytest.mark.parametrize("most", [1 << 20, 300])
def test_a_share_is_held_out_whole_or_the_lowest_of_it(tmp_path, most):
    texts = [f"belge {n}" for n in range(400)]
    path = write(tmp_path / "a.txt", [*texts, *(f"  {text} " for text in texts)])
    text = mapped(path, Holding(0.2, most))
    held = {document.text.strip() for document in text.validation}
    share = {each for each in texts if text_share(each) < 0.2}
    assert 0 < sum(len(document.utf8) for document in text.validation) <= most
    assert len(text.validation) == 2 * len(held)  # copies stay together
    assert held == set(sorted(share, key=text_share)[: len(held)])
    assert {each.strip() for each in documents(text)} == set(texts) - held
    assert len(text.lengths) + len(text.validation) == 800  # nothing is lost
    assert (held == share) == (most > 300) == (not text.notes)
    assert all(str(path) in note for note in text.notes)


def test_what_is_skipped_is_told_also_of_a_table_that_was_there(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "bir"}\nno\n{"text": " iki "}')
    for _ in range(2):
        text = mapped(path, on_error="skip")
        assert documents(text) == ["bir", " iki "]
        assert f"{path}:2" in text.notes[0]
    with refused(f"{path}:2"):
        mapped(path)


@pytest.mark.parametrize("most", [0, 300, 1 << 20])
def test_it_is_known_which_texts_are_trained_on(tmp_path, most):
    texts = [f"belge {n}" for n in range(400)] + TEXTS[-3:]
    text = mapped(write(tmp_path / "a.txt", texts), Holding(0.2, most))
    held = {text_share(document.text) for document in text.validation}
    shares = {text_share(unicodedata.normalize("NFC", each)) for each in texts}
    assert text.trained_shares({*shares, text_share("another")}) == shares - held
    assert text.trained_shares(held) == set()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    import datasets

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, "write", fail)
    path = write(tmp_path / "a.txt")
    with refused(path, "cache", os.strerror(errno.ENOSPC), "HF_DATASETS_CACHE"):
        mapped(path)


@pytest.mark.parametrize("damage", ["empty", "half", "start", "middle"])
def test_a_table_that_is_damaged_is_one_line_that_names_it(tmp_path, cache, damage):
    path = write(tmp_path / "a.txt", TEXTS[:300])
    whole = documents(mapped(path))
    (table,) = cache.rglob("*.arrow")
    data = bytearray(table.read_bytes())
    at = {"start": 0, "middle": data.index("çay".encode())}.get(damage)
    if at is None:
        del data[0 if damage == "empty" else len(data) // 2 :]
    else:
        data[at : at + 100] = b"\xff" * 100
    table.write_bytes(data)
    with refused(path, f"{cache}/generator is damaged: delete"):
        documents(mapped(path))
    shutil.rmtree(cache / "generator")  # as the message says
    assert documents(mapped(path)) == whole


def test_a_build_that_is_killed_is_made_again(tmp_path, cache):
    path = write(
        tmp_path / "a.txt",
        [f"{hashlib.sha256(bytes([n % 256])).hexdigest()} {n}" * 9 for n in range(60_000)],
    )
    code = (
        "from mmrec_jax.data.files.reading import Reading, find_sources\n"
        "from mmrec_jax.data.mapped_text import Holding, map_text\n"
        f"(source,) = find_sources({str(path)!r}, '')\n"
        "map_text(source, Reading(), 'stop', Holding(0.0, 1 << 20))"
    )
    command, names = [sys.executable, "-c", code], environment() | {"HF_DATASETS_CACHE": str(cache)}
    process = subprocess.Popen(command, env=names, stderr=subprocess.PIPE)
    while not any(each.stat().st_size for each in cache.rglob("*.arrow")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    text = mapped(path)
    assert len(text.lengths) == 60_000
    assert text.text(59_999).endswith(" 59999")
