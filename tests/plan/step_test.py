"""What is planned is what is trained."""

import jax
import pytest

from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import Target
from mmrec_jax.train.compiled_steps import lower_refresh, lower_step
from mmrec_jax.train.setup import set_up
from tests.refused import refused
from tests.small_run import begin, linear_config, write_text

_MESH = {"train__devices": 8, "mesh__data": 2, "mesh__fsdp": 2, "mesh__tensor": 2}
_ADAPTED = {
    "adapters__kind": "dora",
    "adapters__rank": 2,
    "adapters__embedding_rows": "3,7-9",
    "noise__alpha": 5.0,
    "optim__name": "sophia_g",
}


@pytest.mark.parametrize("fields", [{"train__carry_state": True}, _ADAPTED], ids=["all", "dora"])
def test_the_programs_are_those_that_a_run_steps_with_word_for_word(tmp_path, fields):
    text = write_text(tmp_path / "words.txt")
    if "adapters__kind" in fields:
        begin(linear_config(text), tmp_path / "base", step=1)
        fields = fields | {"init_from": tmp_path / "base"}
    config = linear_config(text, **_MESH | fields)
    run = set_up(config, tmp_path / "run", fresh=False)
    parts = run.config, run.mesh, run.model
    real = [lower_step(*parts, run.objectives, run.optimizer, run.state).as_text()]
    if config.optim.uses_hessian:
        real.append(lower_refresh(*parts, run.state).as_text())
    planned = lower_steps(config, Target(tuple(jax.devices()), 1))
    assert [lowered.as_text() for _, lowered in planned] == real
    assert "sdy.sharding" in real[0]


def test_a_base_need_not_be_here(tmp_path):
    stages = [{"step": 2, "lr_factor": 0.5}, {"step": 4, "seq_len": 16}]
    config = linear_config("", init_from="nowhere", stages=stages, **_ADAPTED)
    names = [name for name, _ in lower_steps(config, Target(tuple(jax.devices()), 1))]
    names_of_shape = ["step", "refresh of the curvature"]
    assert names == [*names_of_shape, *(f"{name}, stage 2" for name in names_of_shape)]


def test_a_batch_that_does_not_divide_is_refused():
    config = linear_config("", train__devices=None, train__batch_size=6)
    refused(lambda: next(lower_steps(config, Target(tuple(jax.devices()), 1))), "batch_size", "8")
