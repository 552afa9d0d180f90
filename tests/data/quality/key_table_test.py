import numpy as np
import pytest

from mmrec_jax.data.quality.key_table import KeyTable
from mmrec_jax.errors import UserError


def _table(limit=1 << 30):
    return KeyTable(limit, "--ram-mb")


def test_it_is_a_set(rng):
    table, seen = _table(), set()
    for _ in range(40):
        keys = rng.integers(1, 30_000, 700).astype(np.uint64)  # small: with equal high bits
        assert table.contains(keys).tolist() == [key in seen for key in keys.tolist()]
        table.add(keys)
        seen |= set(keys.tolist())
        assert table.contains(keys).all()
    assert len(table) == len(seen)
    assert not table.contains(np.arange(30_000, 40_000).astype(np.uint64)).any()


def test_zero_is_a_key_as_well():
    table, zero = _table(), np.zeros(2, np.uint64)
    assert not table.contains(zero).any()
    table.add(zero)
    assert table.contains(zero).all()
    assert len(table) == 1


def test_no_keys_are_no_work():
    table = _table()
    table.add(np.zeros(0, np.uint64))
    assert len(table) == 0
    assert table.contains(np.zeros(0, np.uint64)).shape == (0,)


def test_it_takes_at_most_27_bytes_a_key(rng):
    table = _table()
    for _ in range(20):
        table.add(rng.integers(0, 1 << 63, 5_000).astype(np.uint64))
        assert table.num_bytes <= max(27 * len(table), 8 << 12)


def test_it_refuses_to_outgrow_its_limit(rng):
    table = _table(limit=1_000_000)
    table.add(rng.integers(0, 1 << 63, 30_000).astype(np.uint64))
    keys = rng.integers(0, 1 << 63, 30_000).astype(np.uint64)
    with pytest.raises(UserError, match="2 MB to hold more than 30,000 keys, and --ram-mb leaves"):
        table.add(keys)
    assert table.num_bytes <= 1_000_000
    assert len(table) == 30_000
