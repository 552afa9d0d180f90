"""Checkpoints of a few arrays: what comes back, what is kept, and every kind of damage."""

import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.checkpoints import checkpointer as module
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.errors import UserError
from mmrec_jax.train.mesh import abstract_on, replicated
from tests.refused import refused
from tests.small_run import ROOT, assert_same_bits
from tests.small_step import mesh

_HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
_META = {"config": {"a": [1, None, 0.1]}, "tokenizer": "ab", "validation": None}


def _arrays(step, size=300):
    kernel = jax.random.normal(jax.random.key(step), (size, size))
    scale = jnp.arange(5, dtype=jnp.bfloat16) / 3
    return {
        "params": {"blocks": {"kernel": kernel}, "scale": scale},
        "training": {"step": jnp.int32(step), "opt_state": (kernel * 2, {"mu": scale * 2})},
    }


def _save(checkpointer, step, loss=None, size=300):
    data = {"position": step, "nested": {"list": [step]}}
    arrays = _arrays(step, size)
    checkpointer.save(step, arrays, data=data, meta=_META, validation_loss=loss)
    checkpointer.wait()


def _restore(checkpointer, step, size=300):
    return checkpointer.restore(step, abstract_on(_arrays(step, size), _HERE))


@pytest.mark.parametrize("name", ["plain", "a [b], c*?", "%23#$&'\""])
def test_everything_comes_back_bit_for_bit_whatever_the_folder_is_called(tmp_path, name):
    checkpointer = Checkpointer(tmp_path / name)
    assert checkpointer.resume_step() == 0
    with pytest.raises(UserError, match="no checkpoint 3"):
        checkpointer.resume_step(3)
    _save(checkpointer, 7, loss=1.5)
    checkpointer.close()
    again = Checkpointer(tmp_path / name)
    arrays, data = _restore(again, 7)
    assert_same_bits(arrays, _arrays(7))
    assert data == {"position": 7, "nested": {"list": [7]}}
    assert again.read_meta(7) == {"format": 2, "step": 7, **_META, "validation_loss": 1.5}
    params = _arrays(7)["params"]
    assert_same_bits(again.restore_params(7, abstract_on(params, _HERE)), params)
    again.close()


def test_steps_that_follow_do_not_reach_a_save_that_is_still_running(tmp_path):
    """Of arrays on several devices, which are restored onto one."""
    checkpointer = Checkpointer(tmp_path)
    change = jax.jit(lambda x: jax.tree.map(lambda y: y + 1, x), donate_argnums=0)
    arrays = jax.device_put(_arrays(3, size=1000), replicated(mesh(4)))
    checkpointer.save(3, arrays, data={}, meta=_META, validation_loss=None)
    for _ in range(20):
        arrays = change(arrays)
    checkpointer.wait()
    restored, _ = _restore(checkpointer, 3, size=1000)
    assert_same_bits(restored, _arrays(3, size=1000))
    assert all(leaf.sharding == _HERE for leaf in jax.tree.leaves(restored))
    checkpointer.close()


@pytest.mark.parametrize(
    ("keep_last", "keep_best", "expected"),
    [(1, 0, [6]), (2, 1, [2, 5, 6]), (1, 2, [2, 4, 6])],
)
def test_the_newest_and_the_best_are_kept(tmp_path, keep_last, keep_best, expected):
    checkpointer = Checkpointer(tmp_path, keep_last=keep_last, keep_best=keep_best)
    for step, loss in enumerate([4.0, 1.0, None, 2.0, 3.0, None], start=1):
        _save(checkpointer, step, loss, size=3)
    assert checkpointer.all_steps() == expected
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == expected
    assert checkpointer.latest_step() == checkpointer.choose("last") == 6
    best = 2 if keep_best else 6
    assert checkpointer.best_step() == checkpointer.choose("best") == best
    checkpointer.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Checkpoints of steps 5 and 9; copied before anything is done to them."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    checkpointer = Checkpointer(folder)
    for step in (5, 9):
        _save(checkpointer, step, loss=9.0 - step, size=3)
    checkpointer.close()
    return folder


def _rewrite(path, change):
    path.write_bytes(bytes(change(bytearray(path.read_bytes()))))


def _flip(content):
    content[len(content) // 2] ^= 16
    return content


def _array_file(folder, item):
    return max((folder / item).rglob("d/*"), key=lambda path: path.stat().st_size)


def _write(name, content):
    return lambda folder: (folder / name).write_text(content)


def _replace(name, old, new):
    return lambda folder: _rewrite(folder / name, lambda content: content.replace(old, new, 1))


def _remove(name):
    return lambda folder: (folder / name).unlink()


# What is done to the folder of step 9, whether it is seen without reading every byte, and what the
# line must name.
_DAMAGES = [
    (lambda x: (shutil.rmtree(x), x.mkdir()), True, "commit_success.txt"),
    (_remove("commit_success.txt"), True, "commit_success.txt"),
    (_remove("checksums.json"), True, "checksums.json"),
    (lambda x: _rewrite(x / "checksums.json", lambda y: y[:-9]), True, "checksums.json"),
    (_write("checksums.json", '{"meta/metadata": 3}'), True, "checksums.json"),
    (_remove("training/commit_success.txt"), True, "training/commit_success.txt"),
    (lambda x: shutil.rmtree(x / "params"), True, "params/"),
    (_write("meta/metadata", ""), True, "meta/metadata"),
    (_write("meta/metadata", "[]"), True, "meta/metadata"),
    (_write("meta/metadata", "[" * 200_000), True, "meta/metadata"),
    (_replace("meta/metadata", b"0.1", b"0.2"), False, "meta/metadata"),
    (_replace("data/metadata", b"9", b"8"), False, "data/metadata"),
    (lambda x: _rewrite(_array_file(x, "params"), lambda y: y[:-1]), True, "params/"),
    (lambda x: _rewrite(_array_file(x, "params"), _flip), False, "params/"),
    (lambda x: _rewrite(_array_file(x, "training"), _flip), False, "training/"),
]


@pytest.mark.parametrize(("damage", "seen", "named"), _DAMAGES)
def test_damage_is_one_line_that_names_it_and_the_newest_intact_step(
    two, tmp_path, damage, seen, named
):
    folder = shutil.copytree(two, tmp_path / "checkpoints")
    damage(folder / "9")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    reader = Checkpointer(folder, read_only=True)
    abstract = abstract_on(_arrays(9, 3), _HERE)

    def read(choose):
        step = choose()
        return reader.read_meta(step), reader.restore(step, abstract)

    parts = f"{folder / '9'}: ", named, "step is 5", "--step=5", "--resume-step=5"
    refused(lambda: read(lambda: reader.choose("best")), *parts)
    refused(lambda: read(reader.resume_step), *parts)
    assert reader.all_steps() == ([5] if seen else [5, 9])
    assert reader.latest_step() == (5 if seen else 9)
    assert reader.choose(5) == reader.resume_step(5) == 5
    assert_same_bits(_restore(reader, 5, 3)[0], _arrays(5, 3))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_an_intact_step_there_is_no_advice_to_use_one(two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "checkpoints")
    for step in ("5", "9"):
        _rewrite(_array_file(folder / step, "training"), _flip)
    reader = Checkpointer(folder, read_only=True)
    with pytest.raises(UserError, match="no other checkpoint is intact") as caught:
        _restore(reader, 9, 3)
    assert "--step" not in str(caught.value)


def test_going_back_moves_later_checkpoints_aside_and_says_so(two, tmp_path, capsys):
    folder = shutil.copytree(two, tmp_path / "checkpoints")
    shutil.copytree(folder / "9", folder / "12")
    _rewrite(_array_file(folder / "12", "training"), _flip)
    (folder / "9.later").mkdir()
    checkpointer = Checkpointer(folder)
    checkpointer.set_aside_later(5)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == [f"{folder / x}:" for x in ("9", "12")]
    assert sorted(path.name for path in folder.iterdir()) == [
        *("12.damaged", "5", "9.later", "9.later.2"),
    ]
    _save(checkpointer, 9, loss=1.0, size=3)
    assert checkpointer.all_steps() == [5, 9]
    checkpointer.close()


def test_what_a_kill_left_is_removed_by_a_writer_alone(two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "checkpoints")
    left = ["12.orbax-checkpoint-tmp", "13.orbax-checkpoint-tmp-1700000000", "2.removed"]
    for name in left:
        (folder / name).mkdir()
    (folder / "notes").mkdir()
    reader = Checkpointer(folder, read_only=True)
    _restore(reader, 9, size=3)
    reader.close()
    assert {path.name for path in folder.iterdir()} == {"5", "9", "notes", *left}
    Checkpointer(folder).close()
    assert {path.name for path in folder.iterdir()} == {"5", "9", "notes"}


def test_a_format_of_a_later_version_is_refused(two, tmp_path, monkeypatch):
    folder = shutil.copytree(two, tmp_path / "checkpoints")
    monkeypatch.setattr(module, "FORMAT_VERSION", 1)
    reader = Checkpointer(folder, read_only=True)
    refused(lambda: reader.read_meta(9), f"{folder / '9'}: checkpoint format 2")


def test_an_item_that_was_not_saved_is_named(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    params = {"params": _arrays(1)["params"]}
    checkpointer.save(1, params, data={}, meta=_META, validation_loss=None)
    checkpointer.wait()
    with pytest.raises(UserError, match="has no training"):
        _restore(checkpointer, 1)
    checkpointer.close()


# What fails, whether there is an earlier save, what notices it, and what is said.
_FAILING_SAVES = [
    ("2.orbax-checkpoint-tmp", True, "wait", "step 1 is intact"),
    ("params", True, "close", "step 1 is intact"),
    ("gone", True, "wait", "moved or deleted"),
    ("full", True, "wait", "step 1 is intact"),
    ("full", False, "close", "no earlier one"),
]
_FAILING = """
import errno, json, os, resource, shutil, signal, sys
from pathlib import Path
import jax
from mmrec_jax.checkpoints.checkpointer import Checkpointer
key, make = jax.random.key(0), os.mkdir
arrays = {"params": {str(n): jax.random.normal(key, (300, 300)) for n in range(9)}}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for number, (how, earlier, ask, _) in enumerate(json.loads(sys.argv[2])):
    folder = Path(sys.argv[1], str(number))
    checkpointer = Checkpointer(folder, keep_last=1, keep_best=0)
    if earlier:
        checkpointer.save(1, arrays, data={}, meta={}, validation_loss=None)
        checkpointer.wait()
    def full(path, *arguments, **options):
        if how in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return make(path, *arguments, **options)
    os.mkdir = full
    if how == "gone":
        shutil.rmtree(folder)
    # The kernel refuses to write files beyond 64 KiB.
    size = 2**16 if how == "full" else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        checkpointer.save(2, arrays, data={}, meta={}, validation_loss=None)
        getattr(checkpointer, ask)()
    except Exception as error:
        print(type(error).__name__, error)
    os.mkdir = make
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""


def test_a_failed_save_is_one_line_that_says_what_is_left_and_the_process_ends(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", _FAILING, str(tmp_path), json.dumps(_FAILING_SAVES)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert not result.stderr
    lines = result.stdout.splitlines()
    for number, ((*_, said), line) in enumerate(zip(_FAILING_SAVES, lines, strict=True)):
        folder = tmp_path / str(number)
        assert line.startswith(f"UserError {folder}: ")
        assert said in line
        if said == "step 1 is intact":
            reader = Checkpointer(folder, read_only=True)
            assert reader.all_steps() == [1]
            like = {str(n): jax.ShapeDtypeStruct((300, 300), jnp.float32) for n in range(9)}
            found = reader.restore_params(1, abstract_on(like, _HERE))["0"]
            np.testing.assert_array_equal(found, jax.random.normal(jax.random.key(0), (300, 300)))
