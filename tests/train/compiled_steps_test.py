"""Which program takes which step, when each is compiled, and where programs are kept."""

import stat
from types import SimpleNamespace

import jax
import pytest

from mmrec_jax.config import Config, OptimConfig
from mmrec_jax.stages import StageConfig
from mmrec_jax.train import compiled_steps
from mmrec_jax.train.compiled_steps import CompiledSteps, enable_compile_cache
from mmrec_jax.train.mesh import one_device
from mmrec_jax.train.stages import plan_stages
from tests.refused import refused


@pytest.fixture
def compiled(monkeypatch):
    """Programs are replaced by ones that count refreshes; the list has those compiled."""
    done = []

    def replace(name, program):
        def compile():
            done.append(name)
            return program

        monkeypatch.setattr(
            compiled_steps, f"lower_{name}", lambda *_: SimpleNamespace(compile=compile)
        )

    replace("step", lambda model, refreshes, batch, stage=0: (0, refreshes))
    replace("refresh", lambda model, refreshes, batch: refreshes + 1)
    return done


def _setup(config, *stages):
    parts = dict.fromkeys(("objectives", "optimizer", "model_of", "abstract_state"), str)
    return SimpleNamespace(
        config=config, stages=stages, stage=stages[0], mesh=one_device(), **parts
    )


@pytest.mark.parametrize(
    ("optim", "start", "taken"),
    [
        ({"name": "sophia_g", "hessian_every": 3}, 0, [1, 0, 0, 1, 0, 0, 1, 0]),
        ({"name": "sophia_h", "hessian_every": 3}, 4, [0, 0, 1, 0, 0, 1]),
        ({"name": "sophia_g", "hessian_every": 1}, 0, [1, 1, 1]),
        ({}, 0, [0, 0, 0]),
    ],
)
def test_refreshes_come_by_the_step_of_the_run_and_each_program_is_compiled_once(
    compiled, optim, start, taken
):
    """They are there at once."""
    config = Config(optim=OptimConfig(**optim))
    stages, _ = plan_stages(config, SimpleNamespace())
    steps = CompiledSteps(_setup(config, *stages))
    programs = ["step", "refresh"] if optim else ["step"]
    assert compiled == programs
    numbers = range(start + 1, start + 1 + len(taken))
    assert [steps(number, 0, {})[1] for number in numbers] == taken
    assert compiled == programs


def test_the_next_stage_is_compiled_ahead_and_no_shape_twice(compiled):
    borders = StageConfig(step=4, seq_len=512), StageConfig(step=9, seq_len=256)
    config = Config(optim=OptimConfig(name="sophia_g"), stages=borders)
    stages, _ = plan_stages(config, SimpleNamespace(evaluators=()))
    steps = CompiledSteps(_setup(config, *stages))
    steps._background.submit(lambda: None).result()  # whatever was asked for before is there
    assert compiled == 2 * ["step", "refresh"]
    for stage in stages[1:]:
        steps.enter(stage)
        steps(stage.begin + 1, 0, {})
    assert len(compiled) == 4


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Asks for a cache in a new home: the folder that JAX is told of, None for none."""
    told = {}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    config = SimpleNamespace(jax_compilation_cache_dir=None, update=told.__setitem__)
    monkeypatch.setattr(jax, "config", config)

    def ask():
        told.clear()
        enable_compile_cache()
        return told.get("jax_compilation_cache_dir")

    return ask


def test_the_cache_is_the_users_own(tmp_path, monkeypatch, chosen):
    folder = tmp_path / ".cache" / "mmrec_jax" / "compiled"
    for _ in range(2):  # made, and found
        assert chosen() == str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for mode in (0o770, 0o707):  # native code is run as it is found there
        folder.chmod(mode)
        refused(chosen, str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    folder.chmod(0o700)
    assert chosen() == str(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert chosen() == str(tmp_path / "other" / "mmrec_jax" / "compiled")
    (tmp_path / "file").write_text("a home that cannot hold it")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert chosen() is None
    monkeypatch.setattr(jax.config, "jax_compilation_cache_dir", "JAX_COMPILATION_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert chosen() is None
