"""A run in two sessions is the run in one, bit for bit, whatever it is made of."""

import shutil

import numpy as np
import pytest

from mmrec_jax.train.loop import run
from tests.small_run import assert_same_run, linear_config, metrics, session_text

_RUN = {
    "train__steps": 8,
    "train__eval_every": 8,
    "train__checkpoint_every": 5,
    "train__keep_last": 2,
    "train__sample_tokens": 0,
}
_CASES = {
    "carried state, microbatches, Sophia, dropout and noise": {
        "train__carry_state": True,
        "train__accumulate": 2,
        "optim__name": "sophia_g",
        "optim__hessian_every": 3,
        "objectives__uboo__weight": 0.1,
        "model__dropout": 0.1,
        "noise__alpha": 5.0,
    },
    "no state, Lion": pytest.param({"optim__name": "lion"}, marks=pytest.mark.soak),
}


@pytest.mark.parametrize("fields", _CASES.values(), ids=_CASES)
def test_a_run_in_two_sessions_is_the_run_in_one(fields, tmp_path):
    config = linear_config(session_text(), **_RUN, **fields)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(config, whole) == 0
    shutil.copytree(whole, parts)
    assert run(config, parts, resume_step=5) == 0
    state = assert_same_run(config, whole, parts)
    if "train__carry_state" in fields:
        assert np.any(state.carried.h)
        norms = [line["sophia_h_norm"] for line in metrics(whole, "train")]
        assert [i + 2 for i in range(7) if norms[i + 1] != norms[i]] == [4, 7]
