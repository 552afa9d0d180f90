from typing import NamedTuple

import numpy as np

from mmrec_jax.tree import map_named, named_leaves


class _Moments(NamedTuple):
    mu: object
    nu: object


_TREE = {"b": {"kernel": np.ones(2), "list": [np.zeros(1), np.ones(3)]}, "a": _Moments(1.0, 2.0)}
_NAMES = ["a/mu", "a/nu", "b/kernel", "b/list/0", "b/list/1"]


def test_names_join_keys_fields_and_indices():
    assert list(named_leaves(_TREE)) == _NAMES


def test_a_function_sees_each_leaf_under_its_own_name():
    seen = {}

    def label(name, leaf):
        seen[name] = leaf
        return name.upper()

    labelled = map_named(label, _TREE)
    assert labelled["b"]["list"] == ["B/LIST/0", "B/LIST/1"]
    assert labelled["a"] == _Moments("A/MU", "A/NU")
    assert list(seen) == _NAMES
    assert seen["b/list/1"] is _TREE["b"]["list"][1]
