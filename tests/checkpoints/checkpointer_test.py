import json
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer, abstract_on
from mmrec_jax.errors import UserError
from mmrec_jax.train.state import TrainState

_HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
_META = {"config": {"a": [1, None, 0.1]}, "tokenizer": "ab", "validation": None}


def _state(step, size=300):
    params = {
        "blocks": {"kernel": jax.random.normal(jax.random.key(step), (size, size))},
        "scale": jnp.arange(5, dtype=jnp.bfloat16) / 3,
    }
    return TrainState(
        step=jnp.int32(step),
        params=params,
        opt_state=optax.adam(1e-3).init(params),
        key=jax.random.key_data(jax.random.key(step)),
    )


def _save(checkpointer, step, loss=None, size=300):
    data = {"position": step, "nested": {"list": [step]}}
    checkpointer.save(_state(step, size), data=data, meta=_META, validation_loss=loss)
    checkpointer.wait()


def _assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def _restore(checkpointer, step, size=300):
    return checkpointer.restore(step, abstract_on(_state(step, size), _HERE))


def test_everything_comes_back_bit_for_bit(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    _save(checkpointer, 7, loss=1.5)
    checkpointer.close()
    again = Checkpointer(tmp_path)
    state, data = _restore(again, 7)
    _assert_same(state, _state(7))
    assert data == {"position": 7, "nested": {"list": [7]}}
    assert again.read_meta(7) == {"format": 1, "step": 7, **_META}
    _assert_same(again.restore_params(7, abstract_on(_state(7).params, _HERE)), _state(7).params)
    again.close()


def test_steps_that_follow_do_not_reach_a_save_that_is_still_running(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    change = jax.jit(lambda x: jax.tree.map(lambda y: y + 1, x), donate_argnums=0)
    state = _state(3, size=1500)
    checkpointer.save(state, data={}, meta=_META, validation_loss=None)
    for _ in range(20):
        state = change(state)
    checkpointer.wait()
    _assert_same(_restore(checkpointer, 3, size=1500)[0], _state(3, size=1500))
    checkpointer.close()


def test_a_checkpoint_can_be_restored_onto_other_devices(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = jax.device_put(_state(2), everywhere)
    checkpointer.save(state, data={}, meta=_META, validation_loss=None)
    checkpointer.wait()
    restored, _ = _restore(checkpointer, 2)
    _assert_same(restored, _state(2))
    assert all(leaf.sharding == _HERE for leaf in jax.tree.leaves(restored))
    checkpointer.close()


@pytest.mark.parametrize(
    ("keep_last", "keep_best", "expected"),
    [(1, 0, [6]), (2, 0, [5, 6]), (2, 1, [2, 5, 6]), (1, 2, [2, 4, 6])],
)
def test_the_newest_and_the_best_are_kept(tmp_path, keep_last, keep_best, expected):
    checkpointer = Checkpointer(tmp_path, keep_last=keep_last, keep_best=keep_best)
    for step, loss in enumerate([4.0, 1.0, None, 2.0, 3.0, None], start=1):
        _save(checkpointer, step, loss, size=3)
    assert checkpointer.all_steps() == expected
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == expected
    assert checkpointer.latest_step() == 6
    assert checkpointer.best_step() == (2 if keep_best else 5 if keep_last == 2 else 6)
    checkpointer.close()


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    checkpointer = Checkpointer(tmp_path / "new")
    assert (checkpointer.latest_step(), checkpointer.best_step(), checkpointer.all_steps()) == (
        None,
        None,
        [],
    )
    checkpointer.close()


_HALF_WRITTEN = {
    "temporary folder": lambda good, bad: good.rename(
        bad.with_name("9.orbax-checkpoint-tmp-1700000000")
    ),
    "temporary folder, no suffix": lambda good, bad: good.rename(
        bad.with_name("9.orbax-checkpoint-tmp")
    ),
    "empty folder": lambda good, bad: bad.mkdir(),
    "no mark": lambda good, bad: (good.rename(bad), (bad / "commit_success.txt").unlink()),
    "item without mark": lambda good, bad: (
        good.rename(bad),
        (bad / "training" / "commit_success.txt").unlink(),
    ),
    "item missing": lambda good, bad: (good.rename(bad), shutil.rmtree(bad / "params")),
}


@pytest.mark.parametrize("break_it", _HALF_WRITTEN.values(), ids=_HALF_WRITTEN)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_half_written_checkpoint_is_never_chosen(tmp_path, break_it, read_only):
    folder = tmp_path / "checkpoints"
    writer = Checkpointer(folder)
    _save(writer, 5, loss=2.0, size=3)
    writer.close()
    shutil.copytree(folder / "5", tmp_path / "copy")
    break_it(tmp_path / "copy", folder / "9")
    checkpointer = Checkpointer(folder, read_only=read_only)
    assert checkpointer.latest_step() == checkpointer.best_step() == 5
    assert checkpointer.all_steps() == [5]
    if not read_only:  # and it does not stand in the way of the same step's save
        _save(checkpointer, 9, loss=1.0, size=3)
        assert checkpointer.latest_step() == checkpointer.best_step() == 9
        _assert_same(_restore(checkpointer, 9, size=3)[0], _state(9, 3))
    checkpointer.close()


def test_reading_leaves_the_folder_as_it_is(tmp_path):
    writer = Checkpointer(tmp_path)
    _save(writer, 5, size=3)
    writer.close()
    (tmp_path / "9").mkdir()
    (tmp_path / "10.orbax-checkpoint-tmp-17").mkdir()
    before = sorted(tmp_path.rglob("*"))
    reader = Checkpointer(tmp_path, read_only=True)
    _restore(reader, 5, size=3)
    reader.close()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def small_files_only():
    """The kernel refuses to write files beyond 64 KiB, as it refuses on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(on):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]) if on else limits)

    yield limit
    limit(False)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_failed_save_is_one_line_and_leaves_the_last_good_checkpoint(tmp_path, small_files_only):
    checkpointer = Checkpointer(tmp_path, keep_last=1, keep_best=0)
    _save(checkpointer, 1)
    small_files_only(True)
    with pytest.raises(UserError, match=r"saving a checkpoint failed .*step 1 is intact") as caught:
        _save(checkpointer, 2)
    small_files_only(False)
    assert "\n" not in str(caught.value)
    again = Checkpointer(tmp_path, read_only=True)
    assert again.all_steps() == [1]
    _assert_same(_restore(again, 1)[0], _state(1))
    again.close()


def test_the_first_save_that_fails_says_that_there_is_none(tmp_path, small_files_only):
    checkpointer = Checkpointer(tmp_path)
    small_files_only(True)
    with pytest.raises(UserError, match="there is no earlier one"):
        _save(checkpointer, 1)


def test_a_failure_in_the_background_is_told_at_the_next_check(tmp_path, small_files_only):
    checkpointer = Checkpointer(tmp_path)
    small_files_only(True)
    checkpointer.save(_state(1), data={}, meta=_META, validation_loss=None)
    with pytest.raises(UserError, match="saving a checkpoint failed"):
        checkpointer.close()


def test_another_format_is_refused(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    _save(checkpointer, 4, size=3)
    checkpointer.close()
    path = tmp_path / "4" / "meta" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    again = Checkpointer(tmp_path)
    with pytest.raises(UserError, match=r"4: checkpoint format 99; .* reads 1"):
        again.read_meta(4)
    again.close()
