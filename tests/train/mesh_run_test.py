"""A run that changes its mesh on the way is the run that does not."""

import shutil

import numpy as np
import pytest

from mmrec_jax.train.loop import run
from mmrec_jax.train.writer import read_metrics
from tests.small_run import begin, linear_config, session_text

_RUN = {
    "train__steps": 8,
    "train__eval_every": 8,
    "train__checkpoint_every": 4,
    "train__keep_last": 2,
    "train__sample_tokens": 0,
}
_CUBE = {"mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 2}
_SHARED_ROWS = {"mesh__data": 2, "mesh__sequence": 4}


def _config(**fields):
    return linear_config(session_text(), **{**_RUN, "train__devices": 8, **fields})


def _losses(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return {(line["split"], line["step"]): line["loss"] for line in lines}


@pytest.mark.parametrize(
    ("adapted", "first"),
    [
        (False, _CUBE),
        pytest.param(True, _CUBE, marks=pytest.mark.soak),
        pytest.param(False, _SHARED_ROWS, marks=pytest.mark.soak),
        pytest.param(True, _SHARED_ROWS, marks=pytest.mark.soak),
    ],
)
def test_a_checkpoint_of_one_mesh_goes_on_on_another(tmp_path, adapted, first):
    # Devices that share a row draw the masks of their own tokens.
    fields = {"model__dropout": 0.0} if first is _SHARED_ROWS else {}
    if adapted:
        begin(_config(train__devices=1), tmp_path / "base", step=3)
        fields |= {"init_from": tmp_path / "base", "adapters__kind": "dora", "adapters__rank": 2}
    whole, changed = tmp_path / "whole", tmp_path / "changed"
    assert run(_config(**fields, **first), whole) == 0
    shutil.copytree(whole, changed)
    assert run(_config(**fields, mesh__data=1, mesh__fsdp=8), changed, resume_step=4) == 0
    expected, found = _losses(whole), _losses(changed)
    assert found.keys() == expected.keys()
    assert len(found) == 9
    for each, loss in expected.items():
        np.testing.assert_allclose(found[each], loss, rtol=0, atol=1e-4, err_msg=str(each))
