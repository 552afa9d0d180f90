"""The position of a stream, which is told where documents begin and reckoned in between."""

import json

import pytest

from tests.small_stream import BATCH, assert_same, sources, stream, take, write_lines

_WEIGHTS = "1,3; 7: 1,0; 50: 2,1"  # changes in the middle of documents


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    parts = write_lines(folder / "a"), write_lines(folder / "b", (12, 5), tag="other ")
    return sources(*parts, pooled=False)


def _stream(mixed, batch=BATCH, length=4):
    """Rows that are short beside the documents: most shards begin none in a batch."""
    return stream(mixed, weights=_WEIGHTS, batch=batch, length=length)


def _of_shards(batches):
    """The position and the epochs as the shards themselves have them now."""
    (group,) = batches._pieces
    states = {str(shard.number): shard.get_state() for shard in group._shards}
    return {"shards": states}, [shard.epochs for shard in group._shards]


@pytest.mark.parametrize("batch", [BATCH, 12])  # one lane a shard, and three
def test_what_is_reckoned_is_what_the_shards_have(mixed, batch):
    batches, never_asked = _stream(mixed, batch), _stream(mixed, batch)
    for _ in range(120):
        assert_same(take(never_asked, 1), take(batches, 1))
        states, epochs = _of_shards(batches)
        assert batches.get_state() == states
        means = [sum(each) / len(each) for each in zip(*epochs, strict=True)]
        assert list(batches.metrics().values()) == pytest.approx(means)
    assert never_asked.get_state() == batches.get_state()


def test_asking_changes_nothing(mixed):
    batches = _stream(mixed)
    kept = []
    for _ in range(40):
        next(batches)
        state = batches.get_state()
        assert batches.get_state() == state
        kept.append((state, json.dumps(state)))
    assert all(json.dumps(state) == then for state, then in kept)


def test_a_closed_stream_has_its_position_and_goes_on(mixed):
    whole, batches = _stream(mixed), _stream(mixed)
    for _ in range(10):
        assert_same(take(batches, 5), take(whole, 5))
        batches.close()
        batches.close()
        assert batches.get_state() == whole.get_state()


def test_a_continued_stream_has_position_and_epochs_with_its_first_batch(mixed):
    whole, other = _stream(mixed), _stream(mixed)
    take(other, 3)
    for _ in range(30):
        next(whole)
        state = json.loads(json.dumps(whole.get_state()))
        other.set_state(state)
        assert other.get_state() == state
        expected = next(whole)
        assert_same(take(other, 1), [expected])
        assert other.get_state() == whole.get_state()
        assert other.metrics() == whole.metrics()


def test_a_failed_batch_leaves_the_position_of_the_one_before(mixed, monkeypatch):
    batches = _stream(mixed)
    take(batches, 9)
    state = batches.get_state()
    (group,) = batches._pieces
    last, *_ = reversed(group._shards)
    monkeypatch.setattr(last, "read_rows", lambda spans: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(batches)
    assert batches.get_state() == state
