import dataclasses

import numpy as np
import pytest

from mmrec_jax.checkpoints.identity import difference, identity
from tests.small_run import small_model

_CONFIG = small_model()
_PARAMS = {
    "embed": {"embedding": np.ones((3, 2), np.float32)},
    "blocks": {"w": np.zeros((2, 4), np.float32)},
}
_SAVED = identity(_CONFIG, _PARAMS)


def _difference(params=_PARAMS, **changes):
    return difference(_SAVED, identity(dataclasses.replace(_CONFIG, **changes), params))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scan": "parallel", "newton_passes": 1, "chunk": 4, "remat": "full"}, ""),
        ({"time_chunk": 8, "dropout": 0.5, "gate_init_scale": 1.0}, ""),
        ({"recurrent_dim": 16, "memory_slots": 8, "ffn_dim": 64}, ""),  # as they come to
        ({"gate": "input"}, "config.model.gate is 'state' in the file and 'input' here"),
        ({"ffn_dim": 128}, "config.model.ffn_dim is 64 in the file and 128 here"),
        ({"dtype": "bfloat16"}, "config.model.dtype is 'float32'"),
    ],
)
def test_fields_that_change_the_function_and_no_others_are_named(changes, expected):
    assert bool(_difference(**changes)) == bool(expected)
    assert expected in _difference(**changes)


def test_a_field_that_an_older_file_lacks_was_as_models_were_then():
    older = {x: y for x, y in _SAVED["config"].items() if x not in ("use_dpg", "family")}
    now = identity(_CONFIG, _PARAMS)
    assert not difference(_SAVED | {"config": older}, now)
    other = identity(dataclasses.replace(_CONFIG, use_dpg=False), _PARAMS)
    assert "config.model.use_dpg" in difference(_SAVED | {"config": older}, other)


def test_of_another_family_the_family_is_named():
    other = {"family": "attention", "ffn_dim": 384, "num_heads": 4}
    assert "config.model.family" in difference({"config": other, "parameters": {}}, _SAVED)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({"w": np.zeros((2, 5), np.float32)}, "blocks/w is float32 [2, 4] in the file and float32"),
        ({"w": np.zeros((2, 4), np.float16)}, "and float16 [2, 4] here"),
        ({"w": np.full((2, 4), -0.0, np.float32)}, "1 of 2 have other values, the first is blocks"),
        ({}, "parameter blocks/w is float32 [2, 4] in the file and absent here"),
    ],
)
def test_another_parameter_is_named(blocks, expected):
    assert expected in _difference(_PARAMS | {"blocks": blocks})
