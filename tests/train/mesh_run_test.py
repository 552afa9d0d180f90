"""A run that changes its mesh on the way is the run that does not."""

import shutil

import numpy as np
import pytest

from mmrec_jax.train.loop import run
from mmrec_jax.train.writer import read_metrics
from tests.small_run import begin, linear_config

_RUN = {
    "train__steps": 8,
    "train__eval_every": 8,
    "train__checkpoint_every": 4,
    "train__sample_tokens": 0,
    "optim__schedule": "constant",
}
_CUBE = {"mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 2}
_MESHES = {"one device": {"train__devices": 1}, "fsdp 8": {"mesh__data": 1, "mesh__fsdp": 8}}


def _config(text, **fields):
    return linear_config(text, **{**_RUN, "train__devices": 8, **fields})


def _losses(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return {(line["split"], line["step"]): line["loss"] for line in lines}


@pytest.fixture(scope="module", params=["all parameters", "dora"])
def runs(request, text, tmp_path_factory):
    """A run on one device; the first half of it on three axes; and their own fields."""
    folder = tmp_path_factory.mktemp("runs")
    fields = {}
    if request.param == "dora":
        begin(_config(text, train__devices=1), folder / "base", step=3)
        fields = {"init_from": folder / "base", "adapters__kind": "dora", "adapters__rank": 2}
    assert run(_config(text, **fields, train__devices=1), folder / "whole") == 0
    half = _config(text, **fields, **_CUBE, train__steps=4)
    assert run(half, folder / "half") == 0
    return folder, fields


@pytest.mark.parametrize("mesh", _MESHES.values(), ids=_MESHES)
def test_a_checkpoint_of_three_axes_goes_on_on_another_mesh(runs, text, tmp_path, mesh):
    folder, fields = runs
    here = shutil.copytree(folder / "half", tmp_path / "run")
    assert run(_config(text, **fields, **mesh), here) == 0
    expected, found = _losses(folder / "whole"), _losses(here)
    del found["validation", 4]  # the end of the first half
    assert found.keys() == expected.keys()
    assert len(found) == 9
    for each, loss in expected.items():
        np.testing.assert_allclose(found[each], loss, rtol=0, atol=1e-4, err_msg=str(each))
