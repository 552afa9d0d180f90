"""Which program takes which step, and when each is compiled."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from mmrec_jax.config import Config, OptimConfig
from mmrec_jax.train import compiled_steps
from mmrec_jax.train.compiled_steps import CompiledSteps


@pytest.fixture
def compiled(monkeypatch):
    """Programs are replaced by ones that say whether they refresh; the list has those compiled."""
    done = []

    def compile_step(config, mesh, model, objectives, optimizer, state, refresh):
        done.append(refresh)
        return lambda model, state, batch: (state, {"refresh": jnp.float32(refresh)})

    monkeypatch.setattr(compiled_steps, "compile_step", compile_step)
    return done


def _steps(start=0, **optim):
    parts = dict.fromkeys(("mesh", "model", "objectives", "optimizer"))
    config = Config(optim=OptimConfig(**optim))
    return CompiledSteps(SimpleNamespace(config=config, state={}, start=start, **parts))


def _taken(steps, numbers):
    return [int(steps(number, {}, {})[1]["refresh"]) for number in numbers]


@pytest.mark.parametrize("start", [0, 4])
def test_refreshes_come_by_the_step_of_the_run(compiled, start):
    steps = _steps(start, name="sophia_g", hessian_every=3)
    expected = [1, 0, 0, 1, 0, 0, 1, 0, 0, 1][start:]
    assert _taken(steps, range(start + 1, 11)) == expected


def test_the_second_program_is_compiled_once_and_after_the_first_step(compiled):
    steps = _steps(name="sophia_h", hessian_every=3)
    assert compiled == [True]
    assert _taken(steps, range(1, 9)) == [1, 0, 0, 1, 0, 0, 1, 0]
    assert compiled == [True, False]


@pytest.mark.parametrize(
    ("optim", "refreshes"), [({}, False), ({"name": "sophia_g", "hessian_every": 1}, True)]
)
def test_a_run_with_one_kind_of_step_compiles_one_program(compiled, optim, refreshes):
    assert _taken(_steps(**optim), range(1, 5)) == [int(refreshes)] * 4
    assert compiled == [refreshes]
